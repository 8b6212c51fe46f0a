"""Both layouts against the contract of every backend.

A verb is cut off at its first two steps and then at every `stride`th: each cut costs a second or
two of a real cluster. What leaves a watch on an image, which the cluster would keep for 30 s, is
cut off at every step.
"""

import os
from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from backends.ceph import CephBackend
from backends.host import mountinfo
from backends.mounting import detaching
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    SnapshotContract,
    TrashContract,
)
from backends.testing.backend.world import AnyBackend
from tests.ceph.conftest import Node

pytestmark = pytest.mark.lab


class CephWorld(BackendContract, TrashContract, EverywhereContract):
    """A profile on an empty pool for each test."""

    stride: ClassVar[int] = 40

    @pytest.fixture
    def backend(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> CephBackend:
        monkeypatch.setattr(detaching, "RELEASE_SECONDS", 0.5)
        return node()

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        step = effect if effect < 2 else 2 + (effect - 2) * self.stride
        return super().dies_at(backend, step, verb)

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """Mounts and devices that no attachment explains."""
        state = str(backend.context.state)
        attached = {one.uuid for one in backend.attachments()}
        mounts = [m.point for m in mountinfo.read() if m.point.startswith(state)]
        return [point for point in mounts if os.path.basename(point) not in attached]


class TestFilesystem(CephWorld, ResizeContract, SnapshotContract):
    """A subvolume with a quota."""

    options: ClassVar[Mapping[str, str]] = {"layout": "filesystem", "size": "64M"}
    grown: ClassVar[str] = "1G"
    unfit: ClassVar[Mapping[str, str]] = {"size": "48M"}


class TestExt4(CephWorld, ResizeContract, SnapshotContract):
    """An image with ext4."""

    options: ClassVar[Mapping[str, str]] = {"layout": "disk", "size": "64M"}
    grown: ClassVar[str] = "1G"
    unfit: ClassVar[Mapping[str, str]] = {"size": "48M"}

    def test_a_death_while_taking_one(self, backend: AnyBackend) -> None:
        self._at_every_step()
        super().test_a_death_while_taking_one(backend)

    def test_a_death_while_removing_one(self, backend: AnyBackend) -> None:
        self._at_every_step()
        super().test_a_death_while_removing_one(backend)

    def _at_every_step(self) -> None:
        self.stride = 1  # type: ignore[misc]
