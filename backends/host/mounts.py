"""mount(2) and umount2(2), called directly: a program would cost more than the mount."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_BIND = 4096
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_KEPT = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "relatime": MS_RELATIME,
}
_libc = ctypes.CDLL(None, use_errno=True)


def _encoded(text: str | Path | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _mount(
    source: str | Path | None, target: Path, kind: str | None, flags: int, data: str
) -> None:
    sys.audit("kedge.mount", str(source), str(target), kind, flags, data)
    result = _libc.mount(
        _encoded(source),
        _encoded(target),
        _encoded(kind),
        ctypes.c_ulong(flags),
        _encoded(data or None),
    )
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(target))


def mount(device: Path, target: Path, kind: str, *, options: str = "", flags: int = 0) -> None:
    """Mount the file system on a block device. Raises OSError."""
    _mount(device, target, kind, flags, options)


def bind(source: Path, target: Path) -> None:
    """Make the directory `source` (without what is mounted below it) appear at `target`."""
    _mount(source, target, None, MS_BIND, "")


def make_read_only(target: Path, options: Iterable[str]) -> None:
    """Make one mount read-only, not its file system. `options`: those it has now, to be kept."""
    kept = sum(_KEPT.get(name, 0) for name in options)
    _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept, "")


def make_shared(target: Path) -> None:
    """Mounts made below `target` appear in the namespaces that are copied from this one."""
    _mount(None, target, None, MS_SHARED, "")


def unmount(target: Path, *, lazily: bool = False, forced: bool = False) -> None:
    """Take the topmost mount off `target`. Raises OSError: EBUSY while a process of this mount
    namespace has files of it open (unless `lazily`), EINVAL when nothing is mounted there.
    `forced`: a network file system fails whatever waits for its server, and all that follows."""
    sys.audit("kedge.unmount", str(target), lazily)
    flags = (MNT_DETACH if lazily else 0) | (MNT_FORCE if forced else 0)
    if _libc.umount2(_encoded(target), UMOUNT_NOFOLLOW | flags):
        number = ctypes.get_errno()
        raise OSError(number, f"umount: {os.strerror(number)}", str(target))


def unmounted(target: Path) -> bool:
    """`unmount`, to be repeated; False: a process of this mount namespace has files of it open."""
    try:
        unmount(target)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True
