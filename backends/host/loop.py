"""Loop devices (loop(4)): a file as a block device.

A device is identified by the device and inode number of its file, never by a path, which other
mount namespaces spell differently. Device nodes are made where they are missing, because a managed
plugin has a private /dev. Every device is set up to vanish by itself with its last user.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.errors import HostError
from backends.host.failures import explain
from backends.host.waiting import wait_until

_GET_STATUS64 = 0x4C05
_SET_CAPACITY = 0x4C07
_CONFIGURE = 0x4C0A
_CTL_GET_FREE = 0x4C82
_READ_ONLY, _AUTOCLEAR, _DIRECT_IO = 1, 4, 16
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_MAJOR = 7
_CONTROL = (10, 237)
_TRIES = 50


DEAD = (0, 0)
_SILENT = {errno.ENOTCONN, errno.ECONNABORTED, errno.ESTALE, errno.EIO, errno.ESHUTDOWN}


@dataclass(frozen=True)
class Status:
    """A loop device in use."""

    number: int
    file: tuple[int, int]
    """(st_dev, st_ino) of the backing file; DEAD when its file system does not answer."""
    label: str
    """Empty when its file system does not answer."""
    read_only: bool
    direct: bool
    autoclear: bool
    path: str = ""
    """The backing file, as the kernel spells it; when it was unmounted, from its own root."""

    @property
    def device(self) -> str:
        """major:minor, as in mountinfo."""
        return f"{_MAJOR}:{self.number}"


def identity(file: Path) -> tuple[int, int]:
    """What `Status.file` says for a device made of `file`."""
    facts = os.stat(file)
    return facts.st_dev, facts.st_ino


def number_of(device: str) -> int | None:
    """The loop device's number for a major:minor, None for other devices."""
    major, _, minor = device.partition(":")
    return int(minor) if int(major) == _MAJOR else None


def in_use(number: int) -> bool:
    """Whether the device has a file. Asked without opening it, which would keep it in use."""
    return bool(backing_file(number))


def backing_file(number: int) -> str:
    """The path of a device's file, told by the kernel alone; empty when it has none."""
    try:
        text = Path(f"/sys/block/loop{number}/loop/backing_file").read_text(errors="replace")
    except OSError:
        return ""
    return text.removesuffix("\n")


def wait_released(number: int, file: tuple[int, int], seconds: float) -> bool:
    """Wait until the device no longer holds `file`. False: it still does."""

    def released() -> bool:
        if not in_use(number):
            return True
        now = status(number)
        return now is None or now.file != file

    return wait_until(released, seconds)


def status(number: int) -> Status | None:
    """What a device is made of; None when it has no file. The kernel asks the file's own file
    system for that, so this takes as long as that takes."""
    path = backing_file(number)
    try:
        with opened(number, os.O_RDONLY) as descriptor:
            return _status(number, descriptor, path)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT, errno.ENODEV):
            return None
        if error.errno in _SILENT:
            return Status(number, DEAD, "", False, False, False, path)
        raise


def find(file: Path) -> Status | None:
    """The device that already holds this file: a second one would corrupt it.

    Only devices whose file has the same last two names are asked. The kernel asks the file's
    storage in turn, and one that hangs, anybody's, would hang the asker for ever. The names above
    differ between mount namespaces; the last two do not, even after a rename.
    """
    wanted = identity(file)
    for number in numbers():
        if Path(backing_file(number)).parts[-2:] == file.parts[-2:]:
            found = status(number)
            if found is not None and found.file == wanted:
                return found
    return None


def numbers() -> list[int]:
    """Every device of the machine that has a file."""
    entries = [entry[4:] for entry in os.listdir("/sys/block") if entry.startswith("loop")]
    return sorted(int(entry) for entry in entries if in_use(int(entry)))


def backed_by(file: Path) -> int | None:
    """The number of the device that has this file, by the path this mount namespace has for it.
    Neither the file nor its storage is asked."""
    return next((number for number in numbers() if backing_file(number) == str(file)), None)


@contextlib.contextmanager
def opened(number: int, flags: int) -> Iterator[int]:
    """A descriptor of the device for the block; its node is made when it is missing."""
    path = node(number)
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def node(number: int) -> Path:
    """The device's node, made when it is missing. HostError when another device is there."""
    return _node(Path(f"/dev/loop{number}"), stat.S_IFBLK, os.makedev(_MAJOR, number))


@contextlib.contextmanager
def attached(
    file: Path, *, label: str, read_only: bool = False, direct: bool = True, block_size: int = 0
) -> Iterator[Status]:
    """A free device made of `file`, kept open for the block. What is mounted from it inside the
    block keeps it; without that it is gone after the block.

    `label`: at most 63 bytes, shown by `losetup`. `direct`: bypass the page cache of the file,
    where its file system can; `Status.direct` tells. `block_size` 0: the kernel's choice.
    """
    mode = os.O_RDONLY if read_only else os.O_RDWR
    backing = os.open(file, mode | os.O_CLOEXEC)
    try:
        flags = _AUTOCLEAR | (_READ_ONLY if read_only else 0) | (_DIRECT_IO if direct else 0)
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, label.encode()[:63], b"", b"", 0, 0)
        with _configured(_CONFIG.pack(backing, block_size, info), mode) as (number, descriptor):
            os.close(backing)
            backing = -1
            yield _status(number, descriptor, backing_file(number))
    finally:
        if backing >= 0:
            os.close(backing)


def refresh_size(number: int) -> None:
    """Tell the device that its file has grown."""
    with opened(number, os.O_RDWR) as descriptor:
        fcntl.ioctl(descriptor, _SET_CAPACITY, 0)


@contextlib.contextmanager
def _configured(config: bytes, mode: int) -> Iterator[tuple[int, int]]:
    """A free device given this configuration. Everybody on the machine takes from the same pool,
    so the one that was free may be taken by the time it is configured."""
    for _ in range(_TRIES):
        number = _free()
        with opened(number, mode) as descriptor:
            try:
                fcntl.ioctl(descriptor, _CONFIGURE, config)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    continue
                if error.errno == errno.EINVAL:
                    raise HostError(
                        "the kernel does not know LOOP_CONFIGURE; image volumes need Linux 5.8"
                    ) from error
                raise explain(f"set up loop device {number}", error) from error
            yield number, descriptor
            return
    raise HostError(f"no free loop device was to be had in {_TRIES} tries; is something looping?")


def _free() -> int:
    control = _node(Path("/dev/loop-control"), stat.S_IFCHR, os.makedev(*_CONTROL))
    descriptor = os.open(control, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(descriptor, _CTL_GET_FREE)
    finally:
        os.close(descriptor)


def _status(number: int, descriptor: int, path: str) -> Status:
    buffer = bytearray(_INFO.size)
    fcntl.ioctl(descriptor, _GET_STATUS64, buffer)
    fields = _INFO.unpack(buffer)
    flags = fields[8]
    return Status(
        number=number,
        file=(fields[0], fields[1]),
        label=fields[9].split(b"\0", 1)[0].decode(errors="replace"),
        read_only=bool(flags & _READ_ONLY),
        direct=bool(flags & _DIRECT_IO),
        autoclear=bool(flags & _AUTOCLEAR),
        path=path,
    )


def _node(path: Path, kind: int, device: int) -> Path:
    with contextlib.suppress(FileExistsError):
        if not path.exists():
            os.mknod(path, kind | 0o600, device)
    facts = path.stat()
    if facts.st_rdev != device or stat.S_IFMT(facts.st_mode) != kind:
        raise HostError(f"{path} is not the device it is named after; remove it")
    return path
