"""Images: one device, never the file system's root, repaired before use."""

import os
import re
from pathlib import Path

import pytest

from backends.base import Growth
from backends.errors import Damaged, HostError, InUse, Invalid, NoSpace, NotSupported
from backends.host import loop, mountinfo, mounts
from backends.host.programs import run
from backends.options import Size
from backends.testing.occupying import in_own_namespace, mounted_elsewhere
from tests.local.conftest import World

pytestmark = pytest.mark.lab
KINDS = [{"size": "64M"}, {"size": "300M", "fs": "xfs"}]


def devices_of(image: Path) -> list[int]:
    """Every loop device that holds the file."""
    identity = loop.identity(image)
    numbers = [int(name[4:]) for name in os.listdir("/sys/block") if name.startswith("loop")]
    found = [(number, loop.status(number)) for number in numbers]
    return [number for number, status in found if status and status.file == identity]


@pytest.mark.parametrize("options", KINDS, ids=["ext4", "xfs"])
def test_the_root_of_the_file_system_is_never_handed_out(
    world: World, options: dict[str, str]
) -> None:
    attachment = world.attached(world.made(mode="1770", uid="12", gid="34", **options))
    assert attachment.root == "/data"
    assert os.listdir(attachment.target) == []
    facts = attachment.target.stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (12, 34, 0o1770)


@pytest.mark.parametrize("options", KINDS, ids=["ext4", "xfs"])
def test_one_mount_and_one_direct_device_remain(world: World, options: dict[str, str]) -> None:
    volume = world.made(**options)
    attachment = world.attached(volume)
    (number,) = devices_of(world.image(volume))
    status = loop.status(number)
    assert status is not None
    assert (status.direct, status.autoclear, status.device) == (True, True, attachment.device)
    mounted = [mount.point for mount in mountinfo.read() if mount.device == attachment.device]
    assert mounted == [str(attachment.target)]
    world.detach(attachment)
    assert devices_of(world.image(volume)) == []


@pytest.mark.parametrize("options", KINDS, ids=["ext4", "xfs"])
def test_an_image_in_use_is_never_on_a_second_device(
    world: World, tmp_path: Path, options: dict[str, str]
) -> None:
    volume = world.made(**options)
    attachment = world.attached(volume)
    (tmp_path / "elsewhere").mkdir()
    with mounted_elsewhere(attachment.target, tmp_path / "elsewhere") as pid:
        with pytest.raises(InUse, match=f"pid {pid}"):
            world.detach(attachment)
        again = world.attached(volume)
        assert again.device == attachment.device
        assert len(devices_of(world.image(volume))) == 1


def test_an_image_on_somebody_elses_device_is_left_alone(world: World) -> None:
    volume = world.made(size="64M")
    with loop.attached(world.image(volume), label="by hand") as device:
        with pytest.raises(InUse, match=f"losetup -d /dev/loop{device.number}"):
            world.attached(volume)
        assert len(devices_of(world.image(volume))) == 1
    world.attached(volume)


def test_an_image_in_use_is_not_removed(world: World) -> None:
    volume = world.made(size="64M")
    attachment = world.attached(volume)
    with pytest.raises(InUse):
        world.remove(volume)
    world.detach(attachment)
    world.remove(volume)


def test_marked_errors_are_repaired_before_the_mount(world: World) -> None:
    volume = world.made(size="64M")
    (world.attached(volume).target / "f").write_text("one")
    world.detach(*world.attachments())
    run(["debugfs", "-w", "-R", "ssv state 2", world.image(volume)], seconds=10)
    attachment = world.attached(volume)
    assert (attachment.target / "f").read_text() == "one"
    world.detach(attachment)
    shown = run(["debugfs", "-R", "show_super_stats -h", world.image(volume)], seconds=10).stdout
    assert re.search(r"Filesystem state: +clean\n", shown)


def test_errors_that_need_a_person_are_refused(world: World) -> None:
    volume = world.made(size="64M")
    image = world.image(volume)
    run(["debugfs", "-w", "-R", "clri <2>", image], seconds=10)
    run(["debugfs", "-w", "-R", "ssv state 2", image], seconds=10)
    with pytest.raises(Damaged, match="e2fsck -f"):
        world.attached(volume)
    assert world.attachments() == []
    assert not (world.context.mounts / "db").exists()
    assert devices_of(image) == []


@pytest.mark.parametrize("options", KINDS, ids=["ext4", "xfs"])
def test_an_overwritten_superblock_is_refused(world: World, options: dict[str, str]) -> None:
    volume = world.made(**options)
    with world.image(volume).open("r+b") as image:
        image.write(b"\0" * 4096)
    with pytest.raises(Damaged, match="holds no"):
        world.attached(volume)
    assert devices_of(world.image(volume)) == []


def test_an_xfs_that_the_kernel_refuses_names_the_tool(world: World) -> None:
    volume = world.made(size="300M", fs="xfs")
    with world.image(volume).open("r+b") as image:
        image.seek(4096)
        image.write(b"\xff" * 8192)  # the first allocation group's headers
    with pytest.raises(HostError, match="xfs_repair"):
        world.attached(volume)
    assert devices_of(world.image(volume)) == []


def test_missing_data_are_never_replaced_by_new_ones(world: World) -> None:
    volume = world.made(size="64M")
    world.image(volume).rename(world.image(volume).with_name("moved"))
    with pytest.raises(Damaged, match="missing"):
        world.attached(volume)
    directory = world.made("plain")
    (world.store.data(directory.uuid) / "data").rmdir()
    with pytest.raises(Damaged, match="missing"):
        world.attached(directory)
    assert world.attachments() == []


def test_a_file_system_that_stopped_is_not_healthy(world: World) -> None:
    volume = world.made(size="64M")
    attachment = world.attached(volume)
    mounts.mount(
        Path(f"/dev/loop{loop.number_of(attachment.device)}"),
        attachment.target,
        "ext4",
        flags=mounts.MS_REMOUNT | mounts.MS_RDONLY,
    )
    (shown,) = world.attachments()
    assert not shown.healthy
    assert any("has stopped" in finding.detail for finding in world.findings())
    assert world.attached(volume).healthy


def test_device_nodes_are_made_where_they_are_missing(world: World) -> None:
    """As in a managed plugin, whose /dev is its own."""
    image = world.image(world.made(size="64M"))

    def work() -> None:
        mounts.mount(Path("tmpfs"), Path("/dev"), "tmpfs")
        assert os.listdir("/dev") == []
        with loop.attached(image, label="test") as device:
            facts = os.stat(f"/dev/loop{device.number}")
            assert facts.st_rdev == os.makedev(7, device.number)

    in_own_namespace(work)


def test_a_node_that_is_another_device_is_refused() -> None:
    def work() -> None:
        mounts.mount(Path("tmpfs"), Path("/dev"), "tmpfs")
        os.mknod("/dev/loop5", 0o60600, os.makedev(1, 3))
        with pytest.raises(HostError, match="/dev/loop5 is not the device"):
            loop.node(5)

    in_own_namespace(work)


def test_sizes_that_cannot_be(world: World) -> None:
    with pytest.raises(NoSpace, match="can ever hold"):
        world.made(size="8000T")
    world.made(size="64M")
    with pytest.raises(Invalid, match="cannot shrink"):
        world.resize("db", Size.parse("63M"), None)
    with pytest.raises(Invalid, match="multiple of 4096"):
        world.resize("db", Size(64 * 2**20 + 1), None)
    with pytest.raises(NoSpace):
        world.resize("db", Size.parse("8000T"), None)
    assert world.get("db").options.size == 64 * 2**20
    world.made("plain")
    with pytest.raises(NotSupported, match="layout=image"):
        world.resize("plain", Size.parse("1G"), None)


def test_xfs_grows_while_it_is_mounted(world: World) -> None:
    attachment = world.attached(world.made(size="300M", fs="xfs"))
    before = world.usage(attachment).size or 0
    assert world.resize("db", Size.parse("1G"), attachment) is Growth.ONLINE
    assert (world.usage(attachment).size or 0) > before + 600 * 2**20
    assert not (world.store.data(attachment.uuid) / "growing").exists()


def test_ext4_grows_now_or_at_the_next_mount_and_says_which(world: World) -> None:
    attachment = world.attached(world.made(size="64M"))
    growth = world.resize("db", Size.parse("512M"), attachment)
    size = world.usage(attachment).size or 0
    assert (size > 400 * 2**20) == (growth is Growth.ONLINE)
    world.detach(attachment)
    attachment = world.attached(world.get("db"))
    assert (world.usage(attachment).size or 0) > 400 * 2**20
    assert world.resize("db", Size.parse("512M"), attachment) is Growth.ONLINE


def test_what_is_enforced_is_the_size(world: World) -> None:
    attachment = world.attached(world.made(size="64M"))
    with pytest.raises(OSError, match="No space left"):
        (attachment.target / "f").write_bytes(b"x" * 64 * 2**20)
    usage = world.usage(attachment)
    assert usage.size is not None
    assert usage.used is not None
    assert usage.used > 0.9 * usage.size
