"""RBD images, by librbd. Names are ours; every error is the seam's."""

import contextlib
import errno
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from backends.ceph import bindings
from backends.ceph.cluster import Cluster
from backends.ceph.failures import Absent, explained, number_of
from backends.errors import KedgeError
from backends.host.waiting import wait_until

_GROWING = "kedge.growing"
_BUSY_SECONDS = 5.0
_PASSING = {errno.EBUSY, errno.ESTALE}
"""Somebody else has it open, or deletes it just now."""


@dataclass(frozen=True)
class Images:
    """The images of one pool. Absent is raised for an image that is not there."""

    cluster: Cluster

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
        """Delete an image. Gone: does nothing. Unavailable while a client has it open; one that
        was shut out a moment ago is waited for."""
        failure: list[KedgeError] = []
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
        with self._opened(name, read_only=False) as image:
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
        with self._opened(name, read_only=False) as image, contextlib.suppress(KeyError):
            sys.audit("kedge.ceph", f"mark image {name}")
            image.metadata_remove(_GROWING)

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
    def _opened(self, name: str, *, read_only: bool = True) -> Iterator[Any]:
        """Read-only, so that we are no watcher ourselves."""
        with (
            self.cluster.pool() as pool,
            explained(f"open image {name}"),
            bindings.rbd().Image(pool, name, read_only=read_only) as image,
        ):
            yield image
