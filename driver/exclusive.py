"""One service at a time on one state directory.

Two would each keep their own idea of the ledger. A second one exists for moments whenever the
service is restarted or told to read its settings again, so the newer waits. One that was killed
but cannot end, because a thread of it hangs in the kernel, runs no code of ours any more and is
not waited for.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from backends.errors import HostError

_FLOCK = "hhqqi0q"  # struct flock on 64-bit Linux: type, whence, start, length, pid
_KILLED = 1 << 8  # SIGKILL in a mask of pending signals
PAUSE = 0.05


def hold(path: Path, seconds: float, sleep: Callable[[float], None]) -> int:
    """Lock `path` for the life of this process and return the open file; never close it.
    HostError, naming the other process, when it still has the lock after `seconds`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"{error}; make the state directory writable") from error
    for _ in range(max(1, int(seconds / PAUSE))):
        holder = _try(file)
        if holder is None or _is_dead(holder):
            return file
        sleep(PAUSE)
    os.close(file)
    raise HostError(f"another kedge (pid {holder}) works on {path.parent}; stop it first")


def _try(file: int) -> int | None:
    """Take the lock and return None, or the process that has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        return int(answer[4])
    return None


def _is_dead(pid: int) -> bool:
    """Killed, though it may still hang in the kernel. Never said of a process that is not seen."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    pending = int(facts.get("SigPnd", "0"), 16) | int(facts.get("ShdPnd", "0"), 16)
    return facts.get("State", "")[:1] in ("Z", "X") or bool(pending & _KILLED)
