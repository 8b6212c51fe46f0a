"""What goes wrong with a data path is noticed, said, and ends within its time."""

import errno
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.disk.fuse import ring, wire
from backends.disk.serve import Config
from backends.errors import HostError, InUse, Unavailable
from backends.host import fuse, loop, mountinfo, mounts, targets
from backends.host.filesystems import FileSystem
from tests.lab.datapath import MIB, SECONDS, Rig, fsck, rig

pytestmark = pytest.mark.lab


def write_and_sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, os.urandom(64 * 1024), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kill_both(made: Rig) -> None:
    """The holder first, which would start another server."""
    held = made.path.held()
    assert held is not None
    for victim in (held.pid, held.server):
        os.kill(victim, signal.SIGKILL)


def test_holder_and_server_killed_is_an_error_and_never_a_hang(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        write_and_sync(made.target / "before")
        assert made.layer.healthy()
        kill_both(made)
        with pytest.raises(OSError, match=r"Input/output|Read-only"):
            write_and_sync(made.target / "after")
        until = time.monotonic() + SECONDS
        while made.path.alive():  # a killed process takes a moment to go
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not made.layer.healthy()
        began = time.monotonic()
        made.down()
        assert time.monotonic() - began < 5
        assert made.left() == []
        made.open()
        made.mount()
        assert (made.target / "before").stat().st_size == 64 * 1024
        made.down()


def test_a_server_that_outlived_its_holder_is_waited_for(tmp_path: Path) -> None:
    """It is still letting go of the device (here: frozen) after the unmount. A second one on the
    same device would corrupt it."""
    with rig(tmp_path) as made:
        made.open()
        held = made.path.held()
        assert held is not None
        os.kill(held.server, signal.SIGSTOP)
        os.kill(held.pid, signal.SIGKILL)
        mounts.unmount(made.path.point)
        with pytest.raises(Unavailable, match="not yet done"):
            made.path.open(made.config(), 0.5)
        with pytest.raises(Unavailable, match="not yet done"):
            made.path.close(0.5)
        os.kill(held.server, signal.SIGCONT)
        made.path.close(SECONDS)
        made.open()
        assert made.server() != held.server
        made.path.close(SECONDS)


def test_dead_data_path_is_made_anew_by_open(tmp_path: Path) -> None:
    """A reboot of the service alone, with everything else dead and still mounted."""
    with rig(tmp_path) as made:
        made.open()
        kill_both(made)
        until = time.monotonic() + SECONDS
        while made.path.alive():
            assert time.monotonic() < until
            time.sleep(0.01)
        made.open()
        assert made.path.alive()
        made.path.close(SECONDS)


def test_crash_between_mount_and_holder_leaves_nothing_that_hangs(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.path.directory.mkdir()
        targets.make(made.path.point)
        descriptor = fuse.open_device()
        fuse.mount(descriptor, made.path.point, "kedge:rig")
        os.close(descriptor)
        assert not made.path.alive()
        made.open()
        assert stat.S_ISREG(made.path.file.stat().st_mode)
        made.path.close(SECONDS)


def test_abort_cuts_off_at_once(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        made.path.abort()
        with pytest.raises(OSError, match=r"Input/output|Read-only"):
            write_and_sync(made.target / "after")
        until = time.monotonic() + SECONDS
        while made.path.alive():
            assert time.monotonic() < until
            time.sleep(0.01)
        assert "the end: aborted" in made.log
        made.down()


def test_disk_that_takes_no_writes_bounds_the_unmount(tmp_path: Path) -> None:
    """Both processes are frozen: the files hang, the unmount does not."""
    with rig(tmp_path) as made:
        made.up()
        (made.target / "dirty").write_bytes(bytes(MIB))
        held = made.path.held()
        assert held is not None
        for pid in (held.pid, held.server):
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="takes no writes"):
            made.layer.unmount(made.target, 0.5)
        with pytest.raises(Unavailable):
            made.path.call("status", seconds=0.5)
        assert time.monotonic() - began < 4
        made.path.abort()
        for pid in (held.pid, held.server):
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + SECONDS
        while made.left()[:1] == [str(made.target)]:
            assert time.monotonic() < until
            time.sleep(0.01)
        made.down()


def test_forced_unmount_of_a_frozen_disk(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        (made.target / "dirty").write_bytes(bytes(MIB))
        held = made.path.held()
        assert held is not None
        for pid in (held.pid, held.server):
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        made.layer.unmount(made.target, 0.5, force=True)
        assert time.monotonic() - began < 5
        for pid in (held.pid, held.server):
            os.kill(pid, signal.SIGKILL)
        made.path.close(SECONDS)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_failing_device_is_an_io_error(tmp_path: Path, number: int) -> None:
    with rig(tmp_path) as made:
        made.up()
        write_and_sync(made.target / "before")
        made.fault("fail", f"write {number}")
        with pytest.raises(OSError, match=r"Input/output|Read-only") as caught:
            write_and_sync(made.target / "after")
        assert caught.value.errno in (errno.EIO, errno.EROFS)
        assert made.status()["errors"] > 0
        assert f"OSError({number}" in made.status()["last_error"]
        assert "write of" in made.log
        made.fault("fail", "")
        made.down()


def test_a_file_held_open_is_in_use(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        with (made.target / "open").open("w"):
            with pytest.raises(InUse, match="files open"):
                made.layer.unmount(made.target, 0.3)
            with pytest.raises(InUse):
                made.path.close(1.0)
        made.down()


@contextmanager
def mount_namespace(inside: Path | None = None) -> Iterator[None]:
    """Another mount namespace, with a copy of every mount there is now, and a process in it that
    may stand in one of them."""
    command = ["unshare", "-m", "--wd", str(inside or "/"), "sleep", "60"]
    sleeper = subprocess.Popen(command)
    try:
        until = time.monotonic() + SECONDS
        while Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < until
            time.sleep(0.01)
        yield
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_copy_of_the_files_is_in_use(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        with mount_namespace(made.target), pytest.raises(InUse, match="copied the mount"):
            made.layer.unmount(made.target, 0.5)
        made.down()
        fsck(made.image)


def test_a_copy_of_the_mount_does_not_keep_the_server(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.open()
        with mount_namespace():
            made.path.close(SECONDS)
            assert made.path.held() is None


def test_discard_and_zeroing_reach_the_device(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.open()
        with loop.attached(made.path.file, label=made.layer.label, block_size=4096) as device:
            assert device.direct
            node = loop.node(device.number)
            with node.open("r+b") as opened:
                opened.write(b"x" * MIB)
                opened.flush()
                os.fsync(opened.fileno())
            for flags, start in (([], 65536), (["-z"], 262144)):
                subprocess.run(
                    ["blkdiscard", "-f", *flags, "-o", str(start), "-l", "65536", node], check=True
                )
        noted = made.image.with_suffix(".discards").read_text().split()
        assert noted == ["65536", "65536", "262144", "65536"]
        held = made.image.read_bytes()[:MIB]
        hole = bytes(65536)
        expected = bytearray(b"x" * MIB)
        expected[65536:131072] = expected[262144 : 262144 + 65536] = hole
        assert held == bytes(expected)
        assert loop.wait_released(device.number, device.file, SECONDS)
        made.path.close(SECONDS)


def test_fstrim_reaches_the_device(tmp_path: Path) -> None:
    with rig(tmp_path, size=64 * MIB) as made:
        made.up()
        subprocess.run(["fstrim", made.target], check=True)
        lengths = made.image.with_suffix(".discards").read_text().split()[1::2]
        assert sum(map(int, lengths)) > made.size // 2
        made.down()
        fsck(made.image)


def test_grows_while_it_is_used(tmp_path: Path) -> None:
    with rig(tmp_path, size=320 * MIB, fs=FileSystem.XFS) as made:
        made.up()
        before = os.statvfs(made.target)
        assert made.layer.grow(made.target, 640 * MIB, SECONDS)
        after = os.statvfs(made.target)
        assert after.f_blocks > before.f_blocks * 1.8
        made.kill_server()
        write_and_sync(made.target / "file")
        assert made.path.file.stat().st_size == 640 * MIB
        made.down()


def test_a_disk_that_cannot_be_made_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        nowhere = {"path": str(tmp_path / "missing" / "disk"), "size": MIB}
        with pytest.raises(HostError, match="No such file or directory"):
            made.path.open(Config("backends.disk.fuse.testing:file", nowhere), SECONDS)
        assert made.left() == []
        assert made.path.held() is None
        with pytest.raises(HostError, match="not below backends"):
            made.path.open(Config("os:system", {}), SECONDS)


def test_only_the_connection_that_was_mounted_is_cut_off(tmp_path: Path) -> None:
    """Numbers of connections are used again at once. Without a mounted fusectl, too."""
    targets.make(tmp_path / "one")
    targets.make(tmp_path / "two")
    first, second = fuse.open_device(), fuse.open_device()
    try:
        number = fuse.mount(first, tmp_path / "one", "kedge:one")
        assert fuse.waiting(number) == 1, "the kernel's greeting"
        with fuse.severing(tmp_path / "one") as sever:
            mounts.unmount(tmp_path / "one")
            assert fuse.mount(second, tmp_path / "two", "kedge:two") == number
            sever()
            assert not fuse.is_over(second)
        with fuse.severing(tmp_path / "two") as sever:
            sever()
        assert fuse.is_over(second)
    finally:
        os.close(first)
        os.close(second)
        mounts.unmount(tmp_path / "two")
    assert not [mount for mount in mountinfo.read() if "kedge-fusectl" in mount.point]


def test_the_kernel_tells_which_requests_still_wait(tmp_path: Path) -> None:
    """`wire.probe` on the kernel at hand: the replay of a dead server's requests rests on it."""
    descriptor, request = fuse.open_device(), memoryview(bytearray(wire.MAX_WRITE + 4096))
    targets.make(tmp_path / "mount")
    fuse.mount(descriptor, tmp_path / "mount", "kedge:probe")
    try:
        os.readv(descriptor, [request])
        agreed = wire.negotiate(request)
        unique = wire.header(request).unique
        os.write(descriptor, wire.answer(unique, wire.initialised(agreed)))
        asker = threading.Thread(target=(tmp_path / "mount" / "disk").exists, daemon=True)
        asker.start()
        os.readv(descriptor, [request])
        unique = wire.header(request).unique
        for _ in range(3):
            assert os.write(descriptor, wire.probe(unique)) == 16
        assert asker.is_alive(), "the probe has answered the request"
        os.write(descriptor, wire.refusal(unique, errno.ENOENT))
        asker.join(SECONDS)
        assert not asker.is_alive()
        with pytest.raises(FileNotFoundError):
            os.write(descriptor, wire.probe(unique))
    finally:
        os.close(descriptor)
        mounts.unmount(tmp_path / "mount")


def test_ring_memory_is_small_until_it_is_needed() -> None:
    descriptor = ring.make()
    try:
        assert os.fstat(descriptor).st_blocks * 512 <= 8192
        ring.Ring(descriptor).slot(0)
        assert os.fstat(descriptor).st_blocks * 512 <= 2 * MIB
    finally:
        os.close(descriptor)
