"""What another process, such as the engine, sees of our mounts.

A mount is made in this process's mount namespace and reaches the engine's by propagation. That can
be broken without any error: a service manager may have cut the engine off, and dockerd, when it
was killed and starts again, may unmount the propagated mount that it has just made for a plugin.
Then the engine would hand out the bare directory below. So it is looked at with its own eyes.
"""

import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from backends.errors import HostError
from backends.host import graft, mountinfo
from backends.host.mountinfo import Mount
from backends.host.programs import run

log = logging.getLogger(__name__)

GRAFT_SECONDS = 10.0


class Outside:
    """The eyes of the processes outside, on what is mounted below `mounts`."""

    def __init__(self, mounts: Path) -> None:
        self._mounts = mounts
        self._grafting = threading.Lock()

    def must_see(self, target: Path, pid: int) -> None:
        """The process `pid` sees what is mounted at `target`. When a broken propagation can be
        mended, it is. HostError when the process would find something else there.

        Nothing is known, and nothing raised, about a process that is gone or (`pid` 0) that is in
        another process namespace.
        """
        if not pid or self._sees(target, pid) is not False:
            return
        with self._grafting:
            if self._sees(target, pid) is False:
                self._mend(pid)
        if self._sees(target, pid) is False:
            raise HostError(
                f"{target} is mounted, but the engine (pid {pid}) does not see it: its mounts are "
                "cut off from ours; see PrivateMounts= and MountFlags= of its service, or restart "
                "the plugin"
            )

    def _sees(self, target: Path, pid: int) -> bool | None:
        ours, theirs = mountinfo.read(), _table(pid)
        mine = mountinfo.top(ours, str(target))
        if mine is None or theirs is None:
            return None
        root = mountinfo.top(ours, str(self._mounts))
        if root is None:  # a service: paths are the same on both sides
            places = [str(target)]
        else:
            tops = [other.point for other in theirs if same(root, other)]
            places = [f"{point}/{target.name}" for point in tops]
        found = [mountinfo.top(theirs, place) for place in places]
        return any(other is not None and same(mine, other) for other in found)

    def _mend(self, pid: int) -> None:
        root = mountinfo.top(mountinfo.read(), str(self._mounts))
        theirs = _table(pid)
        if root is None or theirs is None or any(same(root, other) for other in theirs):
            return  # no mount of its own that could be copied, or not what is broken
        place = path_of(root, theirs)
        if place is None:
            return
        log.error("the engine (pid %s) has lost %s; mounting it there again", pid, self._mounts)
        program = [sys.executable, "-I", graft.__file__, str(pid), str(self._mounts), place]
        run(program, seconds=GRAFT_SECONDS)


def same(one: Mount, other: Mount) -> bool:
    """Whether two mounts, of any namespaces, show the same directory of the same file system."""
    return (one.device, one.root) == (other.device, other.root)


def path_of(mount: Mount, table: Sequence[Mount]) -> str | None:
    """How the directory that `mount` shows is reached in the namespace of `table`."""
    for other in table:
        inside = other.root.rstrip("/") + "/"
        if other.device == mount.device and (mount.root + "/").startswith(inside):
            below = mount.root.removeprefix(other.root).strip("/")
            path = f"{other.point.rstrip('/')}/{below}".rstrip("/")
            if mountinfo.covering(table, path) == other:
                return path
    return None


def _table(pid: int) -> Sequence[Mount] | None:
    try:
        return mountinfo.parse(Path(f"/proc/{pid}/mountinfo").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return None
