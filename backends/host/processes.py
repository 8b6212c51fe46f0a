"""Who has a file system mounted, in any mount namespace of this machine.

/proc/<pid>/ns/mnt names the namespace, but reading it takes ptrace rights over that process, which
a service may lack. It saves time, because each namespace's table is then read once; what everybody
may read is enough: mount IDs are unique on a machine, so a table that shares one with ours is
ours; and a mount that lies on the same directory as ours, below a mount
that receives events, is the copy the kernel made for a namespace that follows us, and goes away
with ours. Everything else keeps the files in use.
"""

import os
import re
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.base import Occupant
from backends.host import mountinfo
from backends.host.mountinfo import Mount

_CONTAINER = re.compile(rb"[0-9a-f]{64}")
_ESCAPED = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}


@dataclass(frozen=True)
class Sought:
    """A mounted directory: `device` and `root` as in mountinfo, `target` where we mount it."""

    device: str
    root: str
    target: Path

    @property
    def pattern(self) -> bytes:
        """What every line of mountinfo contains that shows this directory."""
        root = "".join(_ESCAPED.get(letter, letter) for letter in self.root)
        return f" {self.device} ".encode() + os.fsencode(root) + b" "


def occupants(sought: Mapping[str, Sought]) -> dict[str, list[Occupant]]:
    """Processes outside this mount namespace that have one of these directories mounted, by the
    key given for it. One pass over the process table; most processes share a table, so the
    answer for each distinct table is worked out once."""
    own = mountinfo.read()
    places = {key: _place(own, one) for key, one in sought.items()}
    found: dict[str, list[Occupant]] = {}
    answers: dict[bytes, list[str]] = {}
    for pid, table in _tables():
        if table not in answers:
            answers[table] = list(_holding(table, own, sought, places))
        for key in answers[table]:
            found.setdefault(key, []).append(_occupant(pid))
    return found


def kill(pids: Collection[int]) -> None:
    """Send SIGKILL; a process that is gone is no error. Returns before they have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _place(own: tuple[Mount, ...], one: Sought) -> tuple[str, str]:
    """The directory our mount lies on, named so that every namespace agrees."""
    below = mountinfo.covering(own, str(one.target.parent))
    return below.device, below.inside(str(one.target))


def _holding(
    table: bytes,
    own: tuple[Mount, ...],
    sought: Mapping[str, Sought],
    places: Mapping[str, tuple[str, str]],
) -> Iterator[str]:
    wanted = [key for key, one in sought.items() if one.pattern in table]
    if not wanted:
        return
    mounts = {mount.id: mount for mount in mountinfo.parse(table)}
    if any(mount.id in mounts for mount in own):
        return
    for key in wanted:
        one = sought[key]
        if any(
            (mount.device, mount.root) == (one.device, one.root)
            and not _follows(mount, mounts, places[key])
            for mount in mounts.values()
        ):
            yield key


def _follows(mount: Mount, mounts: Mapping[int, Mount], place: tuple[str, str]) -> bool:
    """True for a copy that the kernel unmounts together with ours."""
    below = mounts.get(mount.parent)
    if below is None or not below.propagation:
        return False
    return (below.device, below.inside(mount.point)) == place


def _tables() -> Iterator[tuple[int, bytes]]:
    known: dict[str, bytes] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                yield int(entry), _table(f"/proc/{entry}", known)
            except PermissionError:
                raise
            except OSError:  # gone meanwhile, or a zombie
                continue


def _table(process: str, known: dict[str, bytes]) -> bytes:
    """`known`: by namespace, what was read of a process that was in it before and after."""
    namespace = _namespace(process)
    if namespace in known:
        return known[namespace]
    table = Path(f"{process}/mountinfo").read_bytes()
    if namespace and _namespace(process) == namespace:
        known[namespace] = table
    return table


def _namespace(process: str) -> str:
    try:
        return os.readlink(f"{process}/ns/mnt")
    except OSError:
        return ""


def _occupant(pid: int) -> Occupant:
    try:
        command = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        cgroup = Path(f"/proc/{pid}/cgroup").read_bytes()
    except OSError:
        return Occupant(pid, "", "")
    ids = _CONTAINER.findall(cgroup)
    return Occupant(pid, command, ids[-1].decode() if ids else "")
