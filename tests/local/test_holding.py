"""Who holds a volume: containers do, the copies that follow us do not."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.base import Attachment
from backends.errors import HostError, InUse
from backends.host import mounts
from backends.testing.occupying import MS_SLAVE, leave_namespace, mounted_elsewhere
from tests.local.conftest import World

pytestmark = pytest.mark.lab


@contextmanager
def process(prepare: Callable[[], object]) -> Iterator[int]:
    """A process that runs `prepare` and then waits."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.write(writable, b"ready")
            os.close(writable)
            signal.pause()
        finally:
            os._exit(1)
    os.close(writable)
    try:
        with os.fdopen(readable, "rb") as pipe:
            assert pipe.read() == b"ready"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def holders(world: World, attachment: Attachment) -> list[int]:
    return [user.pid for user in world.occupants([attachment]).get(attachment.name, ())]


def test_a_namespace_that_follows_ours_holds_nothing(world: World, attachment: Attachment) -> None:
    """Other system services and plugins: they lose the mount together with us."""
    with process(lambda: leave_namespace(MS_SLAVE)):
        assert holders(world, attachment) == []
        world.detach(attachment)
        assert world.attachments() == []


def test_processes_of_our_own_namespace_hold_nothing(world: World, attachment: Attachment) -> None:
    """A lab that another test starts at this moment may hold it: it has a copy of all mounts."""
    with process(lambda: None) as pid:
        assert not {pid, os.getpid()} & set(holders(world, attachment))


def test_a_namespace_that_does_not_follow_ours_holds_it(
    world: World, attachment: Attachment
) -> None:
    """A container with the host's file system mounted privately."""
    with process(leave_namespace) as pid:
        assert holders(world, attachment) == [pid]


def test_a_follower_that_mounts_it_elsewhere_holds_it(
    world: World, attachment: Attachment, tmp_path: Path
) -> None:
    """A container's view: another place, whatever its name."""
    place = tmp_path / "container" / attachment.target.name
    place.mkdir(parents=True)

    def prepare() -> None:
        leave_namespace(MS_SLAVE)
        mounts.bind(attachment.target, place)

    with process(prepare) as pid:
        assert holders(world, attachment) == [pid]
        with pytest.raises(InUse, match=f"pid {pid}"):
            world.detach(attachment)
        assert holders(world, attachment) == [pid]
    world.detach(attachment)


def test_the_copy_below_a_removed_target_is_gone(world: World, attachment: Attachment) -> None:
    """Removing the mount point also takes it from namespaces that do not follow us."""
    with process(leave_namespace) as pid:
        assert holders(world, attachment) == [pid]
        world.detach(attachment)
        assert holders(world, attachment) == []


def test_an_open_file_in_our_namespace_keeps_it_mounted(
    world: World, attachment: Attachment
) -> None:
    (attachment.target / "f").write_text("x")
    with (attachment.target / "f").open(), pytest.raises(InUse, match="fuser"):
        world.detach(attachment)
    assert world.attachments() == [attachment]
    world.detach(attachment)


def test_something_else_at_the_target_is_neither_used_nor_taken_away(
    world: World, tmp_path: Path
) -> None:
    volume = world.made()
    target = world.context.mounts / "db"
    target.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    mounts.bind(tmp_path / "other", target)
    try:
        with pytest.raises(HostError, match="something else is mounted"):
            world.attached(volume)
        world.detach(Attachment("db", volume.uuid, target, "", ""))
        assert os.path.ismount(target) or os.path.samefile(target, tmp_path / "other")
    finally:
        mounts.unmount(target)


def test_an_image_held_elsewhere_names_its_holder(world: World, tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    attachment = world.attached(world.made(size="64M"))
    with mounted_elsewhere(attachment.target, tmp_path / "container") as pid:
        with pytest.raises(InUse, match=f"pid {pid}"):
            world.detach(attachment)
        assert not attachment.target.exists()
        (user,) = world.occupants([attachment])["db"]
        assert (user.pid, user.container) == (pid, "")
        assert user.command
    world.detach(attachment)


def test_a_device_number_that_is_another_volumes_by_now_says_nothing(
    world: World, tmp_path: Path
) -> None:
    """The first volume's device is free; the second got its number and is in use."""
    (tmp_path / "container").mkdir()
    old = world.attached(world.made("old", size="64M"))
    world.detach(old)
    new = world.attached(world.made("new", size="64M"))
    with mounted_elsewhere(new.target, tmp_path / "container"):
        world.detach(old)
        assert world.attachments() == [new]


def test_a_mount_that_did_not_happen_is_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is handed out only if the kernel shows the volume there."""
    volume = world.made()
    monkeypatch.setattr(mounts, "bind", lambda source, target: None)
    with pytest.raises(HostError, match="does not show volume db"):
        world.attached(volume)
    assert world.attachments() == []
    assert not (world.context.mounts / "db").exists()


def test_a_mount_of_something_else_is_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, other = world.made(), world.made("other")
    bind = mounts.bind
    wrong = world.store.data(other.uuid) / "data"
    monkeypatch.setattr(mounts, "bind", lambda source, target: bind(wrong, target))
    with pytest.raises(HostError, match="does not show volume db"):
        world.attached(volume)
    for left in world.attachments():
        world.detach(left)
