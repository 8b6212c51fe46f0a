"""Locks between the processes of one machine, freed by the kernel when their holder dies."""

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from backends.errors import Busy
from backends.host.waiting import wait_until


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file `path` (made if missing) for the block. Busy after `seconds`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not wait_until(lambda: _taken(descriptor), seconds):
            raise Busy(f"{path} has been locked by another process for {seconds:.0f} s; try again")
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def lock_for_life(path: Path) -> None:
    """Hold the lock file until this process ends, and name it there. Busy when another does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _taken(descriptor):
        os.close(descriptor)
        raise Busy(f"another process, {owner(path)}, works with {path.parent}")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def owner(path: Path) -> int:
    """The process that holds a lock file for its life; 0 when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        if _taken(descriptor):
            return 0
        return int(os.pread(descriptor, 20, 0) or b"0")
    finally:
        os.close(descriptor)


def kill_owner(path: Path, seconds: float) -> bool:
    """Kill the process that holds a lock file for its life. True when nobody holds it any more."""

    def unlocked() -> bool:
        if (pid := owner(path)) == 0:
            return True
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if owner(path) == pid:  # so it has not been another's number since
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        return False

    return wait_until(unlocked, seconds)
