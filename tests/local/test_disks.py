"""Disks that are full, read-only or failing: a clear error, and nothing lost."""

import os
from itertools import count
from pathlib import Path

import pytest

from backends.errors import HostError, KedgeError, NoSpace, NotFound, Unavailable
from backends.host import mounts
from backends.options import Size
from tests.lab.flushing import flush
from tests.local.conftest import World
from tests.local.disk import Disk

pytestmark = pytest.mark.lab
BOTH = pytest.mark.parametrize("options", [{}, {"size": "64M"}], ids=["directory", "image"])


def data_of(world: World) -> list[str]:
    """The directories of volumes on the disk."""
    world.reaper.wait(30)
    return sorted(os.listdir(world.store.volumes))


def made_until_full(world: World, options: dict[str, str]) -> int:
    """How many volumes there is room for: a directory may still find a free block or two."""
    for number in count():
        try:
            world.made(f"v{number}", **options)
        except NoSpace:
            return number
    raise AssertionError


@BOTH
def test_nothing_is_left_of_what_found_no_room(
    on_disk: World, disk: Disk, options: dict[str, str]
) -> None:
    kept = on_disk.made("kept", **options)
    (on_disk.attached(kept).target / "f").write_text("precious")
    disk.fill()
    assert made_until_full(on_disk, options) == len(on_disk.volumes()) - 1
    assert data_of(on_disk) == sorted(volume.uuid for volume in on_disk.volumes())
    disk.empty()
    (attachment,) = on_disk.attachments()
    assert (attachment.target / "f").read_text() == "precious"
    on_disk.made("after", **options)


@BOTH
def test_a_full_disk_can_be_emptied(on_disk: World, disk: Disk, options: dict[str, str]) -> None:
    """Removing must work when nothing else does."""
    volume = on_disk.made(**options)
    attachment = on_disk.attached(volume)
    (attachment.target / "f").write_bytes(b"x" * 10 * 2**20)
    flush(attachment.target, disk.path)
    disk.fill()
    on_disk.detach(attachment)
    on_disk.remove(volume)
    assert data_of(on_disk) == []
    with pytest.raises(NotFound):
        on_disk.get("db")
    facts = os.statvfs(disk.path)
    assert facts.f_bavail * facts.f_frsize > 9 * 2**20


def test_a_full_disk_attaches_and_detaches(on_disk: World, disk: Disk) -> None:
    volumes = [on_disk.made("plain"), on_disk.made("image", size="64M")]
    claims = [
        on_disk.records.put(f"claims/{volume.uuid}", b"x" * 4000, expected=None)
        for volume in volumes
    ]
    disk.fill()
    for volume, claim in zip(volumes, claims, strict=True):
        attachment = on_disk.attached(volume)
        on_disk.detach(attachment)
        on_disk.records.put(f"claims/{volume.uuid}", b"y" * 4000, expected=claim.version)
    assert on_disk.attachments() == []


def test_a_growth_that_finds_no_room_changes_nothing(on_disk: World, disk: Disk) -> None:
    volume = on_disk.made(size="64M")
    attachment = on_disk.attached(volume)
    (attachment.target / "f").write_text("precious")
    disk.fill(leave=2**20)
    with pytest.raises(NoSpace):
        on_disk.resize("db", Size.parse("128M"), attachment)
    assert on_disk.get("db") == volume
    assert on_disk.image(volume).stat().st_size == 64 * 2**20
    disk.empty()
    on_disk.detach(attachment)
    attachment = on_disk.attached(volume)
    assert (attachment.target / "f").read_text() == "precious"


@BOTH
def test_a_read_only_root_is_named(on_disk: World, disk: Disk, options: dict[str, str]) -> None:
    volume = on_disk.made(**options)
    disk.read_only()
    for attempt in (
        lambda: on_disk.made("other", **options),
        lambda: on_disk.remove(volume),
    ):
        with pytest.raises(KedgeError, match=r"[Rr]ead-only"):
            attempt()
    assert on_disk.get("db") == volume
    assert list(on_disk.volumes()) == [volume]
    assert any("read-only" in finding.detail for finding in on_disk.findings())
    disk.writable()
    on_disk.made("other", **options)
    on_disk.remove(volume)


def test_an_image_on_a_read_only_root_is_not_attached(on_disk: World, disk: Disk) -> None:
    volume = on_disk.made(size="64M")
    disk.read_only()
    with pytest.raises(HostError, match="read-only"):
        on_disk.attached(volume)
    assert on_disk.attachments() == []
    disk.writable()
    on_disk.attached(volume)


def test_a_failing_disk_is_said_to_fail(on_disk: World, disk: Disk) -> None:
    """Everything that cannot be read is unavailable or an error, never `not found`."""
    volume = on_disk.made()
    on_disk.made("image", size="64M")
    flush(disk.path)
    disk.lose_all_but(2**20)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    for attempt in (
        lambda: on_disk.get("db"),
        lambda: on_disk.volumes(),
        lambda: on_disk.made("other"),
        lambda: on_disk.attached(volume),
        lambda: on_disk.remove(volume),
    ):
        with pytest.raises((HostError, Unavailable)):
            attempt()
    assert on_disk.findings()[0].level.value == "error"


def test_a_disk_that_is_not_mounted_is_not_an_empty_profile(on_disk: World, disk: Disk) -> None:
    volume = on_disk.made()
    empty = disk.path.parent / "empty"
    empty.mkdir()
    mounts.bind(empty, disk.path)  # covers the disk, as if it had never been mounted
    try:
        for attempt in (
            lambda: on_disk.get("db"),
            lambda: on_disk.volumes(),
            lambda: on_disk.made("other"),
            lambda: on_disk.attached(volume),
            lambda: on_disk.records.get("volumes/db"),
            lambda: on_disk.records.put("nodes/n", b"", expected=None),
        ):
            with pytest.raises(Unavailable, match="is it mounted"):
                attempt()
        assert os.listdir(empty) == []
    finally:
        mounts.unmount(disk.path)
    assert on_disk.get("db") == volume


def test_another_disk_in_its_place_is_noticed(on_disk: World, disk: Disk, tmp_path: Path) -> None:
    on_disk.made()
    other = tmp_path / "other"
    other.mkdir()
    World(
        type(on_disk.settings)(root=other / "root"),
        type(on_disk.context)("local", "node-2", tmp_path / "m2", tmp_path / "s2"),
    ).made("foreign")
    mounts.bind(other, disk.path)
    try:
        with pytest.raises(KedgeError, match="mount the right one"):
            on_disk.volumes()
    finally:
        mounts.unmount(disk.path)
