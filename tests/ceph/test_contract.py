"""Both layouts against the contract of every backend.

A verb is cut off at its first two steps and then at every `stride`th: each cut costs a second or
two of a real cluster. Where the dead process had the image open, its watch lives on for 30 s, which
nobody who has a claim waits for; two such deaths are left out here.
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


class Ext4(CephWorld, ResizeContract, SnapshotContract):
    """An image with ext4."""

    options: ClassVar[Mapping[str, str]] = {"layout": "disk", "size": "64M"}
    grown: ClassVar[str] = "1G"
    unfit: ClassVar[Mapping[str, str]] = {"size": "48M"}


class TestExt4(Ext4):
    """Without the deaths that take half a minute each."""

    test_a_death_while_taking_one = None  # type: ignore[assignment]
    test_a_death_while_removing_one = None  # type: ignore[assignment]
