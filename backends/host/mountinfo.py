"""The kernel's mount table, /proc/<pid>/mountinfo (proc_pid_mountinfo(5))."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo, unescaped."""

    id: int
    parent: int
    device: str
    """major:minor of the file system."""
    root: str
    """The directory within the file system that is mounted."""
    point: str
    options: frozenset[str]
    """Of this mount: `rw`, `nosuid`, ..."""
    propagation: tuple[str, ...]
    """`shared:N`, `master:N`, ...; empty for a private mount."""
    type: str
    source: str
    super_options: frozenset[str]
    """Of the file system: `rw`, `errors=remount-ro`, ..."""

    def inside(self, path: str) -> str:
        """Where `path`, a path below this mount's point, lies within the file system."""
        return os.path.normpath(os.path.join(self.root, os.path.relpath(path, self.point)))


def unescape(field: bytes) -> str:
    r"""Undo the kernel's octal escapes (`\040` for a space)."""
    if b"\\" in field:
        field = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(field)


def parse_line(line: bytes) -> Mount:
    """One mount. The number of optional fields varies; ` - ` ends them."""
    fields = line.split(b" ")
    end = fields.index(b"-", 6)
    return Mount(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=fields[2].decode(),
        root=unescape(fields[3]),
        point=unescape(fields[4]),
        options=frozenset(unescape(fields[5]).split(",")),
        propagation=tuple(field.decode() for field in fields[6:end]),
        type=unescape(fields[end + 1]),
        source=unescape(fields[end + 2]),
        super_options=frozenset(unescape(fields[end + 3]).split(",")),
    )


def parse(table: bytes) -> tuple[Mount, ...]:
    """Every mount of a table, in the kernel's order."""
    return tuple(parse_line(line) for line in table.splitlines() if line)


def read() -> tuple[Mount, ...]:
    """The mount table of this process. Never blocks on a dead file system."""
    return parse(Path("/proc/self/mountinfo").read_bytes())


def top(mounts: Sequence[Mount], point: str) -> Mount | None:
    """The mount that a lookup of `point` reaches, of those stacked exactly there."""
    here = [mount for mount in mounts if mount.point == point]
    below = {mount.parent for mount in here}
    return next((mount for mount in here if mount.id not in below), None)


def covering(mounts: Sequence[Mount], path: str) -> Mount:
    """The mount that `path` (absolute, normal, without symbolic links) lies on."""
    while True:
        if (found := top(mounts, path)) is not None:
            return found
        if path == "/":
            raise LookupError("the mount table has no root")
        path = os.path.dirname(path)


def reached(path: Path) -> int:
    """The ID of the mount that a lookup of `path` really reaches now: no table can tell that when
    one mount hides another."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return int(facts.partition("mnt_id:")[2].split()[0])
