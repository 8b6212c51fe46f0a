"""The reference backend against the contract."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from backends.base import Attachment, Context, Occupant
from backends.memory import MemoryBackend, MemorySettings
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    SnapshotContract,
    TrashContract,
)
from backends.testing.backend.world import AnyBackend
from backends.testing.faulty import CrashPoint, SimulatedCrash


class TestMemory(
    BackendContract, EverywhereContract, TrashContract, ResizeContract, SnapshotContract
):
    """Files, targets and occupants live in the simulated world."""

    options: ClassVar[Mapping[str, str]] = {"size": "1M"}
    grown: ClassVar[str] = "2M"
    unfit: ClassVar[Mapping[str, str]] = {"size": "512K"}

    @pytest.fixture
    def backend(self, tmp_path: Path) -> MemoryBackend:
        context = Context("memory", "node-1", tmp_path / "mounts", tmp_path / "state")
        return MemoryBackend(MemorySettings(world=str(tmp_path)), context)

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        assert isinstance(backend, MemoryBackend)
        backend.world.effect = CrashPoint(effect)
        try:
            verb(self.reopen(backend))
        except SimulatedCrash:
            return True
        finally:
            backend.world.effect = lambda what: None
        return False

    def write(self, backend: AnyBackend, attachment: Attachment, name: str, text: str) -> None:
        assert isinstance(backend, MemoryBackend)
        backend.write(attachment, name, text.encode())

    def read(self, backend: AnyBackend, attachment: Attachment) -> dict[str, str]:
        assert isinstance(backend, MemoryBackend)
        return {name: text.decode() for name, text in backend.read(attachment).items()}

    def dirty(self, backend: AnyBackend, target: Path) -> Callable[[], bool]:
        assert isinstance(backend, MemoryBackend)
        litter = backend.kernel.litter
        litter.add(target)

        def still_there() -> bool:
            found = target in litter
            litter.discard(target)
            return found

        return still_there

    def exists(self, backend: AnyBackend, target: Path) -> bool:
        assert isinstance(backend, MemoryBackend)
        return target in backend.kernel.mounts or target in backend.kernel.litter

    @contextlib.contextmanager
    def occupied(self, backend: AnyBackend, attachment: Attachment) -> Iterator[int]:
        assert isinstance(backend, MemoryBackend)
        backend.kernel.occupants[attachment.uuid].append(Occupant(4711, "mysqld", "c" * 64))
        yield 4711
        backend.kernel.occupants[attachment.uuid].clear()
