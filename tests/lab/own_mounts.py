"""Mounts that no other test's namespaces get a copy of.

A box of the lab (`namespace.py`) begins with a copy of everything that is mounted at that moment,
and keeps it: a loop device that a test beside it has mounted just then is in use for as long as the
box lives. Whoever is strict about devices mounts in a namespace of the test process's own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_mounts() -> Iterator[None]:
    """For the calling thread, which is the main one, and those it starts during the block."""
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_NEWNS))
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        try:
            yield
        finally:
            _check(_libc.setns(before, _NEWNS))
    finally:
        os.close(before)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
