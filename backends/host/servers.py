"""FUSE servers: programs that put themselves into a session of their own, outlive this service,
and are found again by their name and by the mount point that is the last of their arguments."""

import contextlib
import os
import select
import signal
from pathlib import Path


def serving(program: str, mountpoint: Path) -> list[int]:
    """The processes that serve this mount point, oldest first. Never touches the mount."""
    wanted = program, os.fsencode(mountpoint)
    return sorted(
        (
            int(entry)
            for entry in os.listdir("/proc")
            if entry.isdigit() and _facts(entry) == wanted
        ),
        key=_started,
    )


def ended(program: str, mountpoint: Path, seconds: float) -> bool:
    """Wait until nothing serves the mount point. False: something still does. `seconds` are for
    each of its servers."""
    for pid in serving(program, mountpoint):
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                poll.poll(seconds * 1000)
            finally:
                os.close(handle)
    return not serving(program, mountpoint)


def kill(program: str, mountpoint: Path, seconds: float = 5.0) -> bool:
    """End its servers at once; whatever they had not written is lost. False: not yet gone."""
    for pid in serving(program, mountpoint):
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if _facts(str(pid)) == (program, os.fsencode(mountpoint)):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
    return ended(program, mountpoint, seconds)


def _facts(pid: str) -> tuple[str, bytes] | None:
    """Name and last argument of a process; None of those without any, such as the dead."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            arguments = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return None
    return os.path.basename(os.fsdecode(arguments[0])), arguments[-1]


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError):
        return 0
