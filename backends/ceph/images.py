"""RBD images, by librbd. Names are ours; every error is the seam's."""

import contextlib
import enum
import errno
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from backends.ceph import bindings
from backends.ceph.cluster import Cluster
from backends.ceph.failures import Absent, explained, number_of
from backends.errors import KedgeError, Unavailable
from backends.host.waiting import wait_until

_GROWING = "kedge.growing"
_RESTORING = "kedge.restoring"
_BUSY_SECONDS = 5.0
_PASSING = {errno.EBUSY, errno.ESTALE}
"""Somebody else has it open, or deletes it just now."""


class Work(enum.Enum):
    """What this process does to an image that it has opened for changing it."""

    DATA = "data"
    """It writes what the image holds."""
    BRIEF = "brief"
    """Anything else: it takes a moment, and coming late it does no harm."""


@dataclass(frozen=True)
class Images:
    """The images of one pool. Absent is raised for an image that is not there. `working`: has this
    process written down as a client of an image under an epoch, as the address that it yields."""

    cluster: Cluster
    working: Callable[[str, Work, int], AbstractContextManager[str]]

    def create(self, name: str, size: int) -> None:
        """Make an image that reads as zeros. Conflict when there is one.

        Without RBD's exclusive lock: it passes to anybody who asks, so it keeps nobody out."""
        rbd = bindings.rbd()
        features = rbd.RBD_FEATURE_LAYERING
        with self.cluster.pool() as pool, explained(f"make image {name}"):
            sys.audit("kedge.ceph", f"create image {name}")
            rbd.RBD().create(pool, name, size, old_format=False, features=features)

    def rename(self, old: str, new: str) -> None:
        """Give an image another name. Conflict when it is taken."""
        with self.cluster.pool() as pool, explained(f"rename image {old}"):
            sys.audit("kedge.ceph", f"rename image {old}")
            bindings.rbd().RBD().rename(pool, old, new)

    def remove(self, name: str) -> None:
        """Delete an image without snapshots. Gone: does nothing. Unavailable while a client has it
        open; one that was shut out a moment ago is waited for."""
        failure: list[KedgeError] = []
        with self.working(name, Work.BRIEF, 0):
            if not wait_until(lambda: self._removed(name, failure), _BUSY_SECONDS):
                raise failure[-1]

    def _removed(self, name: str, failure: list[KedgeError]) -> bool:
        try:
            with self.cluster.pool() as pool, explained(f"delete image {name}"):
                sys.audit("kedge.ceph", f"delete image {name}")
                bindings.rbd().RBD().remove(pool, name)
        except Absent:
            return True
        except KedgeError as error:
            if number_of(error.__cause__) not in _PASSING:
                raise
            failure.append(error)
            return False
        return True

    def exists(self, name: str) -> bool:
        """Whether there is such an image."""
        with contextlib.suppress(Absent), self._opened(name):
            return True
        return False

    def size(self, name: str) -> int:
        """Its length in bytes."""
        with self._opened(name) as image:
            return int(image.size())

    def grow(self, name: str, size: int) -> None:
        """Note that the file system in it will be too small, then make the image larger."""
        with self._changed(name) as image:
            image.metadata_set(_GROWING, "1")
            if image.size() < size:
                sys.audit("kedge.ceph", f"resize image {name}")
                image.resize(size)

    def growing(self, name: str) -> bool:
        """Whether the file system may be smaller than the image."""
        with self._opened(name) as image:
            return any(key == _GROWING for key, _ in image.metadata_list())

    def grown(self, name: str) -> None:
        """The file system fills the image."""
        with self._changed(name) as image, contextlib.suppress(KeyError):
            sys.audit("kedge.ceph", f"mark image {name}")
            image.metadata_remove(_GROWING)

    def snapshots(self, name: str) -> dict[str, int | None]:
        """Its snapshots, and how large it was then."""
        with self._opened(name) as image:
            return {str(one["name"]): int(one["size"]) for one in image.list_snaps()}

    def take_snapshot(self, name: str, snapshot: str) -> None:
        """Keep what it holds now. Returns when every client that has it open knows."""
        with self._changed(name) as image:
            sys.audit("kedge.ceph", f"take snapshot of image {name}")
            image.create_snap(snapshot)

    def remove_snapshot(self, name: str, snapshot: str) -> None:
        """Take a snapshot away. Not there: does nothing."""
        with self._changed(name) as image:
            sys.audit("kedge.ceph", f"remove snapshot of image {name}")
            with contextlib.suppress(Absent), explained(f"remove snapshot {snapshot} of {name}"):
                image.remove_snap(snapshot)

    def copy(self, name: str, snapshot: str, new: str) -> None:
        """Make another image of what a snapshot holds, which needs it no longer. An unfinished
        `new` may be left."""
        with self.cluster.pool() as pool, self._opened(name, snapshot=snapshot) as image:
            sys.audit("kedge.ceph", f"copy image {name}")
            image.copy(pool, new, features=bindings.rbd().RBD_FEATURE_LAYERING)
        with self._changed(new) as image:
            for key, _ in list(image.metadata_list()):
                image.metadata_remove(key)

    def roll_back(self, name: str, snapshot: str, epoch: int) -> None:
        """Make it hold what the snapshot holds; nobody has it open. Cut off in the middle it holds
        something of both, and `restoring` says so until this is done again. Fenced when a later
        claim than that of `epoch` has begun to shut others out."""
        with self._changed(name, Work.DATA, epoch) as image:
            sys.audit("kedge.ceph", f"begin to roll back image {name}")
            image.metadata_set(_RESTORING, snapshot)
            image.metadata_set(_GROWING, "1")  # its file system may have been smaller then
            size = image.size()
            sys.audit("kedge.ceph", f"roll back image {name}")
            image.rollback_to_snap(snapshot)
            if image.size() < size:
                image.resize(size)
            sys.audit("kedge.ceph", f"end to roll back image {name}")
            image.metadata_remove(_RESTORING)

    def restoring(self, name: str) -> str | None:
        """The snapshot that it is being rolled back to; it may be used when that is done."""
        with self._opened(name) as image:
            return dict(image.metadata_list()).get(_RESTORING)

    def watchers(self, name: str) -> set[str]:
        """The addresses of the clients that have it open."""
        with self._opened(name) as image:
            return {str(watcher["addr"]) for watcher in image.watchers_list()}

    def break_locks(self, name: str, addresses: Collection[str]) -> None:
        """Take the lock away from whoever has it at these addresses; he was blocklisted before."""
        with self._opened(name) as image:
            found = image.list_lockers() or {"lockers": []}
            for client, cookie, address in found["lockers"]:
                if address in addresses:
                    image.break_lock(client, cookie)

    @contextlib.contextmanager
    def _changed(self, name: str, work: Work = Work.BRIEF, epoch: int = 0) -> Iterator[Any]:
        """Opened for changing it, under the address that is written down."""
        with (
            self.working(name, work, epoch) as address,
            self._opened(name, read_only=False) as image,
        ):
            if address not in {str(one["addr"]) for one in image.watchers_list()}:
                raise Unavailable(f"image {name} was opened by another connection; try again")
            yield image

    @contextlib.contextmanager
    def _opened(
        self, name: str, *, read_only: bool = True, snapshot: str | None = None
    ) -> Iterator[Any]:
        """Read-only, so that we are no watcher ourselves."""
        with (
            self.cluster.pool() as pool,
            explained(f"open image {name}"),
            bindings.rbd().Image(pool, name, snapshot, read_only=read_only) as image,
        ):
            yield image
