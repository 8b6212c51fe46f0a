"""This service itself as a client of an image, while it changes it.

librbd keeps a *watch* on whatever it may change, and the cluster keeps the watch of a process that
died for half a minute; meanwhile the image counts as in use. And a service that was frozen in the
middle of a roll-back goes on with it when it wakes, whoever has the volume by then. So it is
written down before, like every client, and struck out afterwards:

    left by a process of this node that is dead   its watch is broken, by blocklisting its address
    by another node's, which rolls back           shut out by whoever takes over
    by another node's, at anything else           counts as long as its watch lives; harmless
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from backends.ceph.fencing import Fence
from backends.ceph.images import Work
from backends.ceph.layout import Place
from backends.ceph.sessions import Session
from backends.errors import KedgeError

_PREFIX = "kedge-"


def image_of(uuid: str) -> str:
    """The name of a volume's image."""
    return _PREFIX + uuid


@dataclass(frozen=True)
class Workers:
    """Of one profile on one node."""

    place: Place

    @contextlib.contextmanager
    def on(self, image: str, work: Work, epoch: int) -> Iterator[str]:
        """The address of this service, written down as a client of the image during the block.
        Fenced when a later claim than that of `epoch` has begun to shut others out. An image that
        is not whole yet (it has another name) is nobody else's."""
        address = self.place.cluster.address()
        uuid = image.removeprefix(_PREFIX)
        if image_of(uuid) != image or "." in uuid:
            yield address
            return
        session = Session(self.place.node, address, epoch=epoch, work=work.value)
        self.place.sessions.add(uuid, session)
        try:
            yield address
        finally:
            with contextlib.suppress(KedgeError):  # the next work here strikes it out
                self.place.sessions.drop(uuid, [session])

    def bury(self, uuid: str) -> None:
        """Break the watches of what a dead process of this node was doing, and strike it out."""
        mine = self.place.cluster.address()
        dead = [
            one
            for one in self.place.sessions.of(uuid)
            if one.work and one.node == self.place.node and one.address != mine
        ]
        if dead:
            Fence(self.place.cluster).blocklist(one.address for one in dead)
            self.place.sessions.drop(uuid, dead)

    def counting(self, found: list[Session], watchers: set[str]) -> list[Session]:
        """Those of these that may still do something, but not this process itself."""
        mine = self.place.cluster.address()
        others = [one for one in found if not (one.work and one.address == mine)]
        return [one for one in others if one.work != Work.BRIEF.value or one.address in watchers]
