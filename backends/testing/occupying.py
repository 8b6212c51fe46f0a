"""Processes that hold a volume's files, as containers do."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE, _MS_BIND = 1 << 14, 1 << 18, 1 << 12


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


def _hold(source: Path, at: Path, writable: int) -> None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.unshare(_CLONE_NEWNS)
        done = done or libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        if not done:
            paths = os.fsencode(source), os.fsencode(at)
            done = libc.mount(*paths, None, ctypes.c_ulong(_MS_BIND), None)
            done = done or libc.umount2(paths[0], 2)
        if not done:
            os.write(writable, b"ready")
        os.close(writable)
        signal.pause()
    finally:
        os._exit(1)
