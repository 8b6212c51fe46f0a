"""Processes that hold a volume's files, as containers do."""

import contextlib
import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from backends.host import mounts

_CLONE_NEWNS = 0x20000
_MS_REC = 1 << 14
MS_PRIVATE, MS_SLAVE = 1 << 18, 1 << 19
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def mounted_elsewhere(source: Path, at: Path) -> Iterator[int]:
    """A process in a mount namespace of its own that has the mount at `source` at `at`, and
    nowhere else. Yields its pid; ends it after the block."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold(source, at, writable)
    os.close(writable)
    try:
        with os.fdopen(readable, "rb") as pipe:
            assert pipe.read() == b"ready"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def in_own_namespace(work: Callable[[], object]) -> None:
    """Run `work` in a process with a mount namespace of its own. AssertionError with its
    traceback when it raises."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            leave_namespace()
            work()
        except BaseException:
            os.write(writable, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        words = pipe.read()
    os.waitpid(pid, 0)
    assert not words, words


def leave_namespace(propagation: int = MS_PRIVATE) -> None:
    """Give this process a copy of its mount namespace. MS_SLAVE: it follows the original."""
    if _libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    if _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | propagation), None):
        raise OSError(ctypes.get_errno(), "mount")


def _hold(source: Path, at: Path, writable: int) -> None:
    try:
        leave_namespace()
        mounts.bind(source, at)
        mounts.unmount(source, lazily=True)
        os.write(writable, b"ready")
        os.close(writable)
        signal.pause()
    finally:
        os._exit(1)
