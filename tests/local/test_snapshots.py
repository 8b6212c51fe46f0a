"""Snapshots of `local`: what the contract cannot know, and its rules broken on purpose."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import Attachment
from backends.errors import HostError, KedgeError, NoSpace, NotSupported
from backends.host import copying, freezing, loop, mounts
from backends.host.copying import copy_file
from backends.host.filesystems import FileSystem, driver_of
from backends.local.options import Shared
from backends.tree import directory, image, snapshots
from tests.contract import test_local
from tests.local.conftest import World, opened
from tests.local.disk import Disk

pytestmark = pytest.mark.lab
RED = (AssertionError, KedgeError, OSError, pytest.fail.Exception)
CREATED = "2026-02-03T04:05:06Z"


def take(world: World, name: str = "one", at: Attachment | None = None) -> None:
    """A snapshot of the volume `db`."""
    world.snapshot_create(world.get("db"), name, created=CREATED, attachment=at, claim=None)


@pytest.fixture
def on_xfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A profile on a disk that shares blocks."""
    disk, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    disk.touch()
    os.truncate(disk, 400 * 2**20)
    driver_of(FileSystem.XFS).make(disk, label="disk")
    with loop.attached(disk, label=f"test:{tmp_path.name}") as device:
        mounts.mount(loop.node(device.number), place, "xfs")
        try:
            yield from opened(place / "root", tmp_path, monkeypatch)
        finally:
            mounts.unmount(place, lazily=True)


def test_blocks_are_shared_where_they_can_be(on_xfs: World) -> None:
    """Ten copies of 100 MiB in 400 MiB."""
    volume = on_xfs.made(size="200M")
    attachment = on_xfs.attached(volume)
    (attachment.target / "f").write_bytes(os.urandom(100 * 2**20))
    for number in range(10):
        take(on_xfs, f"s{number}", attachment)
    on_xfs.made("copy", **{"size": "200M", "from": "db@s3"})
    on_xfs.detach(attachment)
    plain = on_xfs.made("plain")
    attachment = on_xfs.attached(plain)
    (attachment.target / "f").write_bytes(os.urandom(40 * 2**20))
    on_xfs.detach(attachment)
    for number in range(10):
        on_xfs.snapshot_create(plain, f"s{number}", created="", attachment=None, claim=None)


def test_two_xfs_of_one_origin_are_mounted_together(world: World) -> None:
    volume = world.made(size="300M", fs="xfs")
    take(world)
    clone = world.made("copy", **{"size": "300M", "fs": "xfs", "from": "db@one"})
    assert world.attached(volume).healthy
    assert world.attached(clone).healthy


def test_no_room_leaves_nothing(on_disk: World, disk: Disk) -> None:
    volume = on_disk.made(size="64M")
    attachment = on_disk.attached(volume)
    (attachment.target / "f").write_bytes(os.urandom(30 * 2**20))
    disk.fill(leave=20 * 2**20)
    with pytest.raises(NoSpace, match="free some"):
        take(on_disk, at=attachment)
    assert list(on_disk.snapshot_list(volume)) == []
    assert on_disk.reaper.wait(30)
    assert list((on_disk.store.snapshots / volume.uuid).iterdir()) == []
    (attachment.target / "g").write_text("writers go on")
    disk.empty()
    take(on_disk, at=attachment)


def test_writers_wait_while_an_image_is_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = world.attached(world.made(size="64M"))
    waited: list[bool] = []
    copy = copy_file

    def watched(source: Path, new: Path, **limits: Any) -> None:
        writer = threading.Thread(target=(attachment.target / "f").write_text, args=("x",))
        writer.start()
        writer.join(0.3)
        waited.append(writer.is_alive())
        copy(source, new, **limits)

    monkeypatch.setattr(image, "copy_file", watched)
    take(world, at=attachment)
    assert waited == [True]


def test_a_copy_that_takes_too_long_ends_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = world.made(size="64M")
    attachment = world.attached(volume)
    (attachment.target / "f").write_bytes(os.urandom(8 * 2**20))
    monkeypatch.setattr(image, "SECONDS", 0.0)
    with pytest.raises(HostError, match="nobody has the volume mounted"):
        take(world, at=attachment)
    assert list(world.snapshot_list(volume)) == []
    (attachment.target / "g").write_text("writers go on")


def test_a_shared_directory_that_others_may_have_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for world in opened(tmp_path / "root", tmp_path, monkeypatch, shared=Shared.YES):
        world.made(access="shared")
        with pytest.raises(NotSupported, match="shared"):
            take(world)


def test_links_owners_holes_and_attributes_are_copied(world: World) -> None:
    volume = world.made(uid="12", mode="0750")
    attachment = world.attached(volume)
    top = attachment.target
    (top / "f").write_text("one")
    os.link(top / "f", top / "same")
    os.setxattr(top / "f", "user.colour", b"blue")
    os.mkfifo(top / "pipe")
    with (top / "hole").open("wb") as hole:
        hole.truncate(10 * 2**20)
    world.detach(attachment)
    take(world)
    clone = world.made("copy", **{"from": "db@one"})
    top = world.attached(clone).target
    assert (top.stat().st_uid, top.stat().st_mode & 0o7777) == (12, 0o750)
    assert (top / "f").stat().st_ino == (top / "same").stat().st_ino
    assert os.getxattr(top / "f", "user.colour") == b"blue"
    assert (top / "pipe").is_fifo()
    assert (top / "hole").stat().st_blocks == 0


# -- broken on purpose -----------------------------------------------------------------------


def in_place(patch: pytest.MonkeyPatch) -> None:
    """The data are gone before their successor is complete."""

    def copy_back(self: Any, volume: Any, kept: Path) -> None:
        home = self.source.directory(volume.uuid)
        self.removal.put_away(home / "data", "replaced")
        self._copy(kept, home, "data")

    patch.setattr(directory.DirectoryLayout, "copy_back", copy_back)


def unfinished(patch: pytest.MonkeyPatch) -> None:
    """A restoration that was cut off is not brought to its end."""
    patch.setattr(directory.DirectoryLayout, "_settle", lambda self, home: home)


def named_too_soon(patch: pytest.MonkeyPatch) -> None:
    """A snapshot has its name before it has its content."""

    @contextmanager
    def staged(self: Any, uuid: str, home: Path) -> Iterator[Path]:
        (home / "one").mkdir(exist_ok=True)
        (home / "one" / "about.json").write_text(
            '{"format": 1, "created": "", "size": null, "used": null}'
        )
        yield home / "one"

    patch.setattr(snapshots.TreeSnapshots, "_staged", staged)
    patch.setattr(snapshots, "_named", lambda new, place, volume: None)


def image_in_place(patch: pytest.MonkeyPatch) -> None:
    """The image is overwritten."""

    def copy_back(self: Any, volume: Any, kept: Path) -> None:
        self.image(volume.uuid).unlink()
        copy_file(kept / "image", self.image(volume.uuid))

    patch.setattr(image.ImageLayout, "copy_back", copy_back)


def not_held_still(patch: pytest.MonkeyPatch) -> None:
    """The file system is not frozen."""

    @contextmanager
    def frozen(self: Any, key: str, mounted: Path, seconds: float = 0) -> Iterator[None]:
        yield

    patch.setattr(freezing.Freezer, "frozen", frozen)


def no_look_at_the_room(patch: pytest.MonkeyPatch) -> None:
    """A copy begins however full the disk is, and is left there."""
    patch.setattr(copying, "require_room", lambda directory, needed: None)
    patch.setattr(snapshots.TreeSnapshots, "_put_away", lambda self, uuid, home, name: None)


DIRECTORY, EXT4 = test_local.TestDirectory, test_local.TestExt4
MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[World], None]]] = [
    (in_place, lambda world: DIRECTORY().test_a_death_while_going_back(world)),
    (unfinished, lambda world: DIRECTORY().test_a_death_while_going_back(world)),
    (named_too_soon, lambda world: DIRECTORY().test_a_death_while_taking_one(world)),
    (image_in_place, lambda world: EXT4().test_a_death_while_going_back(world)),
]


@pytest.mark.parametrize(("broken", "test"), MUTANTS, ids=[m[0].__name__ for m in MUTANTS])
def test_a_broken_rule_is_noticed(
    world: World,
    broken: Callable[[pytest.MonkeyPatch], None],
    test: Callable[[World], None],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        broken(patch)
        with pytest.raises(RED):
            test(world)


def test_without_the_freeze_a_writer_does_not_wait(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        not_held_still(patch)
        with pytest.raises(AssertionError):
            test_writers_wait_while_an_image_is_copied(world, patch)


def test_without_the_look_something_is_left(on_disk: World, disk: Disk) -> None:
    with pytest.MonkeyPatch.context() as patch:
        no_look_at_the_room(patch)
        with pytest.raises(RED):
            test_no_room_leaves_nothing(on_disk, disk)
