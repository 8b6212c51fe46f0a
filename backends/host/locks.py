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
def locked(path: Path, seconds: float, *, lasting: bool = True) -> Iterator[None]:
    """Hold the lock file `path` (made if missing) for the block. Busy after `seconds`. Not
    `lasting`: the file goes with the lock, unless this process is killed meanwhile."""
    taken: list[int] = []

    def take() -> bool:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _taken(descriptor) and _named(path, descriptor):
            taken.append(descriptor)
            return True
        os.close(descriptor)
        return False

    if not wait_until(take, seconds):
        raise Busy(f"{path} has been locked by another process for {seconds:.0f} s; try again")
    try:
        yield
    finally:
        try:
            if not lasting:
                path.unlink(missing_ok=True)  # only ever done by who holds it
        finally:
            os.close(taken[0])


def _named(path: Path, descriptor: int) -> bool:
    """Whether that is still the file of this name: whoever held it may have taken it away, and
    then a lock on it keeps out nobody who comes later."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
