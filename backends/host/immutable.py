"""The immutable attribute (chattr(1)): even root can make nothing in such a directory."""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

_GET, _SET = 0x80086601, 0x40086602
_IMMUTABLE = 0x10
_CANNOT = (errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)


def protect(directory: Path) -> bool:
    """Let nothing be made in `directory`. False: the file system or our rights do not allow that;
    its permissions then have to do."""
    return _change(directory, on=True)


def release(directory: Path) -> None:
    """Undo `protect`; not protected: does nothing."""
    with contextlib.suppress(FileNotFoundError):
        _change(directory, on=False)


def _change(directory: Path, *, on: bool) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory, flags)
    try:
        now = struct.unpack("l", fcntl.ioctl(descriptor, _GET, struct.pack("l", 0)))[0]
        wanted = now | _IMMUTABLE if on else now & ~_IMMUTABLE
        if wanted != now:
            fcntl.ioctl(descriptor, _SET, struct.pack("l", wanted))
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    finally:
        os.close(descriptor)
    return True
