"""The Gluster backend against the contract, on a real pool."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest

from backends.gluster import GlusterBackend
from backends.host import loop, mountinfo
from backends.mounting import detaching
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    SizelessContract,
    SnapshotContract,
    TrashContract,
)
from backends.testing.backend.attach import AttachContract
from backends.testing.backend.crash import CrashContract
from backends.testing.backend.create import CreateContract
from backends.testing.backend.detach import DetachContract
from backends.testing.backend.remove import RemoveContract
from backends.testing.backend.world import AnyBackend, BackendWorld
from backends.tree.backend import TreeBackend
from tests.gluster.conftest import Open

pytestmark = pytest.mark.lab

STRIDE = 20


class GlusterWorld(BackendWorld):
    """A directory of the pool for each test."""

    phase: ClassVar[int] = 0

    @pytest.fixture
    def backend(self, open_node: Open, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlusterBackend]:
        monkeypatch.setattr(detaching, "RELEASE_SECONDS", 0.5)
        backend = open_node("node-1")
        yield backend
        assert backend.reaper.wait(30)

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """Mounts at stages, clients and devices that nobody uses, data without a record."""
        assert isinstance(backend, GlusterBackend)
        backend.reaper.wait(30)
        state = str(backend.context.state)
        attached = {one.uuid: one.device for one in backend.attachments()}
        mounts = [m.point for m in mountinfo.read() if m.point.startswith(f"{state}/")]
        expected = {f"{state}/clients/{uuid}" for uuid in attached} | {f"{state}/control"}
        loops = [
            status.label
            for status in map(loop.status, loop.numbers())
            if status is not None
            and status.device not in attached.values()
            and self._ours(status, backend)
        ]
        found = TreeBackend.findings(backend)
        strays = [f.subject for f in found if "no record" in f.detail]
        return sorted(set(mounts) - expected) + loops + strays

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        """The code shared with `local` dies at each of its effects there; here, where a volume's
        life takes a second, a verb dies at some of them, and at others in each layout."""
        at = effect * STRIDE + self.phase if effect else self.phase % 3
        return super().dies_at(backend, at, verb)

    def _ours(self, status: loop.Status, backend: GlusterBackend) -> bool:
        return status.label.endswith(backend.store.known()[:8]) and os.major(status.file[0]) == 0


class TestImage(
    GlusterWorld,
    BackendContract,
    TrashContract,
    EverywhereContract,
    ResizeContract,
    SnapshotContract,
):
    """Layout image, ext4."""

    options: ClassVar[Mapping[str, str]] = {"size": "64M"}
    unfit: ClassVar[Mapping[str, str]] = {"size": "32M"}
    grown: ClassVar[str] = "128M"
    phase: ClassVar[int] = 7


class TestDirectory(
    GlusterWorld,
    CreateContract,
    RemoveContract,
    AttachContract,
    DetachContract,
    SnapshotContract,
    CrashContract,
    SizelessContract,
):
    """Layout directory. The catalog and its trash are the same for both layouts."""

    attached_snapshots: ClassVar[bool] = False


class TestLimitedDirectory(GlusterWorld, ResizeContract):
    """Layout directory with a size, which Gluster's quota keeps."""

    options: ClassVar[Mapping[str, str]] = {"layout": "directory", "size": "64M"}
    grown: ClassVar[str] = "128M"
    phase: ClassVar[int] = 13

    @pytest.fixture(autouse=True)
    def _with_quota(self, with_quota: None) -> None:
        """On for the session once the first test asks for it."""
