"""The local backend against the contract: directories, and images of both kinds."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from backends.base import Context
from backends.host import loop, mountinfo
from backends.local import LocalBackend
from backends.local.options import LocalSettings, Shared
from backends.mounting import detaching
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    SizelessContract,
    SnapshotContract,
    TrashContract,
)
from backends.testing.backend.world import AnyBackend

pytestmark = pytest.mark.lab


class LocalWorld(BackendContract, TrashContract, SnapshotContract):
    """A root of its own for each test."""

    shared: ClassVar[Shared] = Shared.NO
    stride: ClassVar[int] = 1
    """A verb dies at this many effects apart; at each one in one class for each layout."""

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        return super().dies_at(backend, effect * self.stride, verb)

    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
        monkeypatch.setattr(detaching, "RELEASE_SECONDS", 0.5)
        context = Context("local", "node-1", tmp_path / "mounts", tmp_path / "state")
        settings = LocalSettings(root=tmp_path / "root", shared=self.shared)
        backend = LocalBackend(settings, context)
        yield backend
        assert backend.reaper.wait(30)

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """Mounts at stages, devices of images that nobody uses, directories without a record."""
        assert isinstance(backend, LocalBackend)
        backend.reaper.wait(30)
        attached = {one.device for one in backend.attachments()}
        root, state = str(backend.store.root), str(backend.context.state)
        mounts = [m.point for m in mountinfo.read() if m.point.startswith(state)]
        files = {n: loop.backing_file(n) for n in loop.numbers() if f"7:{n}" not in attached}
        loops = [file for file in files.values() if file.startswith(root)]
        return mounts + loops + [f.subject for f in backend.findings() if "no record" in f.detail]


class TestDirectory(LocalWorld, SizelessContract):
    """Layout directory on this node alone."""

    attached_snapshots: ClassVar[bool] = False
    unfit: ClassVar[Mapping[str, str]] = {"layout": "image", "size": "64M"}


class TestSharedDirectory(LocalWorld, SizelessContract, EverywhereContract):
    """The same root seen by two nodes."""

    shared: ClassVar[Shared] = Shared.YES
    stride: ClassVar[int] = 4
    attached_snapshots: ClassVar[bool] = False


class TestExt4(LocalWorld, ResizeContract):
    """Layout image, ext4."""

    options: ClassVar[Mapping[str, str]] = {"size": "64M"}
    unfit: ClassVar[Mapping[str, str]] = {"size": "32M"}
    grown: ClassVar[str] = "1G"


class TestXfs(LocalWorld, ResizeContract):
    """Layout image, XFS."""

    stride: ClassVar[int] = 4
    options: ClassVar[Mapping[str, str]] = {"size": "300M", "fs": "xfs"}
    unfit: ClassVar[Mapping[str, str]] = {"size": "300M", "fs": "ext4"}
    grown: ClassVar[str] = "1G"
