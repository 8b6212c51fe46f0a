"""`fsck` and `export` of directories and images."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from backends.base import Level
from backends.errors import InUse, NotSupported
from backends.inspection import unwatched
from tests.local.conftest import World

pytestmark = pytest.mark.lab
KINDS = pytest.mark.parametrize(
    "options", [{"size": "64M"}, {"size": "300M", "fs": "xfs"}], ids=["ext4", "xfs"]
)


@KINDS
def test_a_sound_image_and_a_damaged_one(world: World, options: dict[str, str]) -> None:
    volume = world.made(**options)
    attachment = world.attached(volume)
    for number in range(50):
        (attachment.target / f"f{number}").write_text("x" * number)
    world.detach(attachment)
    (found,) = world.fsck(volume, unwatched, attached=False)
    assert found.level is Level.OK
    before = world.image(volume).read_bytes()
    with world.image(volume).open("r+b") as image:
        for start in range(2**15, 2**23, 2**14):
            image.seek(start)
            image.write(b"\xff" * 2**12)
    (found,) = world.fsck(volume, unwatched, attached=False)
    assert (found.level, found.subject) == (Level.ERROR, "volume db")
    assert found.detail
    world.image(volume).write_bytes(before)


def test_what_cannot_be_checked_says_why(world: World) -> None:
    volume = world.made(size="64M")
    with pytest.raises(InUse, match="nobody has it mounted"):
        world.fsck(volume, unwatched, attached=True)
    with pytest.raises(NotSupported, match="plain directory"):
        world.fsck(world.made("plain"), unwatched, attached=False)


@KINDS
def test_an_image_is_exported_as_it_is(world: World, options: dict[str, str]) -> None:
    volume = world.made(**options)
    world.snapshot_create(volume, "one", created="", attachment=None, claim=None)
    seen: list[tuple[int, int]] = []
    for snapshot in (None, "one"):
        to = io.BytesIO()
        done = world.export(volume, snapshot, to, lambda *step: seen.append(step))
        assert (done.form, done.size) == ("disk", len(to.getvalue()))
        assert to.getvalue() == world.image(volume).read_bytes()
        assert seen[-1] == (done.size, done.size)


def test_a_directory_is_exported_with_owners_and_links(world: World, tmp_path: Path) -> None:
    volume = world.made()
    attachment = world.attached(volume)
    (attachment.target / "d").mkdir(mode=0o750)
    (attachment.target / "d" / "f").write_text("one")
    os.chown(attachment.target / "d" / "f", 12, 34)
    (attachment.target / "link").symlink_to("d/f")
    with pytest.raises(InUse):
        world.export(volume, None, io.BytesIO(), unwatched)
    world.detach(attachment)
    to = io.BytesIO()
    assert world.export(volume, None, to, unwatched).form == "tar"
    with tarfile.open(fileobj=io.BytesIO(to.getvalue())) as archive:
        names = {one.name: one for one in archive.getmembers()}
        assert sorted(names) == [".", "./d", "./d/f", "./link"]
        assert (names["./d/f"].uid, names["./d/f"].gid, names["./d"].mode) == (12, 34, 0o750)
        assert names["./link"].linkname == "d/f"
