"""Other people's devices that hang must not hang ours."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.host import loop, mounts
from backends.host.filesystems import FileSystem, driver_of
from backends.options import Size
from tests.local.conftest import World
from tests.local.forgetful_fuse import served

pytestmark = pytest.mark.lab
LONG = 30.0


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


def ends(work: Callable[[], object], seconds: float) -> bool:
    """Whether `work` ends within that time; if not, it goes on in the background."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_strangers_hung_device_hangs_nobody(world: World, hung: int) -> None:
    assert not ends(lambda: loop.status(hung), 1), "it answers: this test would prove nothing"
    ended: list[bool] = []

    def life() -> None:
        for options in ({"size": "64M"}, {"size": "300M", "fs": "xfs"}, {}):
            volume = world.made(**options)
            attachment = world.attached(volume)
            assert world.attachments() == [attachment]
            world.occupants([attachment])
            world.findings()
            if options:
                world.resize("db", Size.parse("1G"), attachment)
                world.detach(attachment)
                attachment = world.attached(world.get("db"))
            world.detach(attachment)
            world.remove(volume)
        ended.append(True)

    assert ends(life, LONG)
    assert ended
