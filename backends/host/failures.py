"""What the kernel's refusals mean at the seam."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import HostError, KedgeError, NoSpace, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_AWAY = {
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ECONNREFUSED,
}
_ADVICE = {
    errno.EROFS: "the file system is mounted read-only; remount it writable or find out why",
    errno.EIO: "the disk reports an input/output error; look at `dmesg`",
    errno.EACCES: "permission denied; the service must run as root with its capabilities",
    errno.EPERM: "not permitted; the service must run as root with its capabilities",
    errno.ENODEV: "the kernel lacks this file system",
}


def explain(what: str, error: OSError) -> KedgeError:
    """The error of the seam for a failed system call. `what` was being done: `create volume x`."""
    words = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        return NoSpace(f"{what}: no space left{where}; free some or use a larger disk")
    if error.errno in _AWAY:
        return Unavailable(f"{what}: the storage does not answer: {words}{where}")
    advice = _ADVICE.get(error.errno or 0)
    return HostError(f"{what}: {advice}{where}" if advice else f"{what}: {words}{where}")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise what `explain` says for an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise explain(what, error) from error
