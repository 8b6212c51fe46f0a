"""What the cluster's refusals mean at the seam: the one place where its numbers are read."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import Conflict, KedgeError, NoSpace, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "reason=-28 ")
"""The manager's modules hide the number in a sentence."""
_REFUSED = {errno.EACCES, errno.EPERM}
_SILENT = {errno.ETIMEDOUT, errno.EAGAIN, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ENOTCONN}


class Absent(Unavailable):
    """The cluster has answered that what was named is not there: a pool, an image, a record. Never
    NotFound, which would make Docker forget a volume whose pool has been renamed."""


def failure(what: str, number: int, words: str = "") -> KedgeError:
    """The error of the seam for a refusal. `what` was being done: `read record volumes/db`.

    Whatever is not known to be certain is Unavailable: a wrong key must not look like an absent
    volume, and mending it must be all it takes.
    """
    number = abs(number)
    said = words.strip() or os.strerror(number)
    if number in _FULL or any(words in said for words in _FULL_WORDS):
        return NoSpace(f"{what}: the cluster is full or a quota is reached ({said})")
    if number == errno.ENOENT:
        return Absent(f"{what}: {said}")
    if number in (errno.ECANCELED, errno.EEXIST):
        return Conflict(f"{what}: {said}")
    if number in _REFUSED:
        return Unavailable(
            f"{what}: the cluster refuses this client ({said}); check its keyring and "
            "capabilities (`ceph auth get`)"
        )
    if number in _SILENT:
        return Unavailable(f"{what}: the cluster does not answer in time ({said}); try again")
    if number == errno.ESHUTDOWN:
        return Unavailable(f"{what}: the cluster has blocklisted this client; try again")
    return Unavailable(f"{what}: {said}")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise what `failure` says for an error of the bindings in the block."""
    try:
        yield
    except Exception as error:
        if type(error).__module__ not in ("rados", "rbd"):
            raise
        raise failure(what, number_of(error), str(error)) from error


def number_of(error: BaseException | None) -> int:
    """The errno of an error of the bindings; 0 when it has none."""
    return abs(int(getattr(error, "errno", 0) or 0))
