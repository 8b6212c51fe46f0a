"""Holding a mounted file system still for a moment, so that what lies below it can be copied.

    service ──start──> guard (a process of its own, which has the file system open)
       │ FIFREEZE: everything written is on the device, writers wait
       │ ... copy ...
       │ FITHAW: fails if the guard was faster: the copy is then worth nothing
       └──done───> guard ends; if it sees no more than our end, it thaws

A freeze outlives the process that asked for it. So the guard thaws when the service is gone or the
time is over, and a file tells the next start, should both have been killed at once.
"""

import contextlib
import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.errors import HostError
from backends.host import files

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
SECONDS = 10.0
"""How long writers may have to wait at most."""
_START_SECONDS = 10.0
_END_SECONDS = 5.0
_GUARD = """
import fcntl, os, select, sys
target, seconds = int(sys.argv[1]), float(sys.argv[2])
os.write(0, b"!")
over = not select.select([0], [], [], seconds)[0]
if over or not os.read(0, 1):
    try:
        fcntl.ioctl(target, int(sys.argv[3]), 0)
    except OSError:
        pass
"""


@dataclass(frozen=True)
class Freezer:
    """Freezes file systems; remembers below `notes`, a directory on another one, which are."""

    notes: Path

    @contextlib.contextmanager
    def frozen(self, key: str, mounted: Path, seconds: float = SECONDS) -> Iterator[None]:
        """The file system mounted at `mounted` does not change during the block, and all that was
        written to it is on its device. `key` tells the volume from others, as part of a file name.

        HostError at the end when the block took longer than `seconds`: it was thawed then, and
        what was copied since may not fit together; an error of the block itself comes first.
        Whatever happens, it is thawed afterwards."""
        files.make_directory(self.notes, 0o700)
        note = self.notes / key
        target = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            note.touch(0o600)
            with _guarded(target, seconds), _held_still(target, mounted, seconds):
                yield
            note.unlink()
        finally:
            os.close(target)

    def recover(self, mounted: Mapping[str, Path]) -> None:
        """Thaw what an earlier service froze and could not thaw. `mounted`: by key, what is
        mounted now."""
        for note in sorted(self.notes.iterdir()) if self.notes.is_dir() else ():
            if (place := mounted.get(note.name)) is not None:
                target = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    thaw(target)
                finally:
                    os.close(target)
            note.unlink(missing_ok=True)


def thaw(target: int) -> bool:
    """Let writers go on. False: it was not frozen."""
    try:
        fcntl.ioctl(target, FITHAW, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


@contextlib.contextmanager
def _held_still(target: int, mounted: Path, seconds: float) -> Iterator[None]:
    """Frozen for the block; HostError when the guard has ended it before."""
    _freeze(target, mounted)
    whole = False
    try:
        yield
        whole = True
    finally:
        in_time = thaw(target)
        if whole and not in_time:
            raise HostError(
                f"{mounted} was frozen for {seconds:g} s, which was not enough for its snapshot; "
                "take it while nobody has the volume mounted"
            )


def _freeze(target: int, mounted: Path) -> None:
    try:
        fcntl.ioctl(target, FIFREEZE, 0)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise HostError(
                f"{mounted} is frozen already, by another program; thaw it with "
                f"`fsfreeze --unfreeze {mounted}`"
            ) from error
        raise


@contextlib.contextmanager
def _guarded(target: int, seconds: float) -> Iterator[None]:
    """A process that thaws `target` after `seconds`, or as soon as this process has gone."""
    command = [sys.executable, "-I", "-S", "-c", _GUARD, str(target), str(seconds), str(FITHAW)]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guard = subprocess.Popen(command, stdin=theirs.fileno(), pass_fds=[target])
        theirs.close()
        try:
            ours.settimeout(_START_SECONDS)
            if ours.recv(1) != b"!":
                raise HostError("the process that would end a freeze in time did not start")
            yield
        finally:
            with contextlib.suppress(OSError):  # it has ended
                ours.send(b".")  # nothing of ours is frozen now
            ours.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # storage that hangs holds it up
                guard.wait(_END_SECONDS)
