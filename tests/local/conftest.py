"""A profile of `local` on a directory, and on a small disk of its own that can fail."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Attachment, Context, Spec, Volume
from backends.host import loop, mounts
from backends.host.filesystems import FileSystem, driver_of
from backends.local import LocalBackend
from backends.local.options import LocalOptions, LocalSettings, Shared
from backends.mounting import detaching
from backends.options import parse
from tests.local.disk import Disk
from tests.local.forgetful_fuse import served

Make = Callable[..., LocalBackend]


class World(LocalBackend):
    """The backend with shorthand for tests."""

    def made(self, name: str = "db", **options: str) -> Volume[LocalOptions]:
        """A new volume."""
        parsed = parse(LocalOptions, options, subject=name)
        return self.create(Spec(name, parsed, str(uuid.uuid4()), "2026-01-01T00:00:00Z"))

    def attached(self, volume: Volume[LocalOptions], *, read_only: bool = False) -> Attachment:
        """At its place."""
        target = self.context.mounts / volume.name
        return self.attach(volume, target, claim=None, read_only=read_only)

    def image(self, volume: Volume[LocalOptions]) -> Path:
        """The image file of a volume."""
        return self.store.data(volume.uuid) / "image"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A profile whose root is a plain directory of this machine."""
    yield from opened(tmp_path / "root", tmp_path, monkeypatch)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small ext4 disk, mounted."""
    (tmp_path / "disk").mkdir()
    image = tmp_path / "disk.img"
    image.touch()
    os.truncate(image, 200 * 2**20)
    driver = driver_of(FileSystem.EXT4)
    driver.make(image, label="disk")
    with loop.attached(image, label=f"test:{tmp_path.name}") as device:
        mounts.mount(loop.node(device.number), tmp_path / "disk", "ext4")
        try:
            yield Disk(tmp_path / "disk", image, device.number)
        finally:
            mounts.unmount(tmp_path / "disk", lazily=True)


@pytest.fixture
def on_disk(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A profile whose root lies on that disk."""
    yield from opened(disk.path / "root", tmp_path, monkeypatch)


def opened(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch, *, shared: Shared = Shared.AUTO
) -> Iterator[World]:
    """The profile; whatever is attached at the end is detached."""
    monkeypatch.setattr(detaching, "RELEASE_SECONDS", 0.5)
    context = Context("local", "node-1", home / "mounts", home / "state")
    world = World(LocalSettings(root=root, shared=shared), context)
    yield world
    assert world.reaper.wait(60)
    for attachment in world.attachments():
        world.detach(attachment)


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[int]:
    """A mounted loop device whose file's storage answers nothing any more."""
    backing = tmp_path / "backing"
    backing.touch()
    os.truncate(backing, 64 * 2**20)
    driver_of(FileSystem.EXT4).make(backing, label="stranger")
    with served(tmp_path / "point", backing) as pid:
        with loop.attached(tmp_path / "point" / "disk", label="stranger") as device:
            (tmp_path / "files").mkdir()
            mounts.mount(loop.node(device.number), tmp_path / "files", "ext4")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield device.number
        finally:
            os.kill(pid, signal.SIGCONT)
            mounts.unmount(tmp_path / "files")


@pytest.fixture
def attachment(world: World) -> Iterator[Attachment]:
    """A volume attached below a directory that shares its mounts, as Docker makes it."""
    world.context.mounts.mkdir()
    mounts.bind(world.context.mounts, world.context.mounts)
    mounts.make_shared(world.context.mounts)
    yield world.attached(world.made())
    for attached in world.attachments():
        world.detach(attached)
    mounts.unmount(world.context.mounts)
