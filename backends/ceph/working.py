"""This service itself as a client of an image, while it changes it.

librbd keeps a *watch* on whatever it may change, and the cluster keeps the watch of a process that
died for half a minute; meanwhile the image counts as in use. And a service that was frozen in the
middle of a roll-back goes on with it when it wakes, whoever has the volume by then. So it is
written down before, like every client, and struck out afterwards:

    left by a process of this node that is dead   its watch is broken, by blocklisting its address
    by another node's, which rolls back           shut out by whoever takes over
    by another node's, at anything else           counts as long as its watch lives; harmless

What could not be struck out is tried again by the node's upkeep, which also buries its dead.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from backends.ceph.fencing import Fence
from backends.ceph.images import Work
from backends.ceph.layout import Place
from backends.ceph.sessions import Session, Sessions
from backends.errors import KedgeError

_PREFIX = "kedge-"


def image_of(uuid: str) -> str:
    """The name of a volume's image."""
    return _PREFIX + uuid


class _Register:
    """What this process is at, and what it has ended without being able to strike it out."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._at_work: Counter[tuple[str, Session]] = Counter()
        self._owed: set[tuple[str, Session]] = set()

    def begin(self, uuid: str, session: Session) -> None:
        with self._lock:
            self._sessions.add(uuid, session)
            self._at_work[uuid, session] += 1
            self._owed.discard((uuid, session))

    def end(self, uuid: str, session: Session) -> None:
        """The same work may go on in another thread; the last one strikes it out."""
        with self._lock:
            self._at_work[uuid, session] -= 1
            if not self._at_work[uuid, session]:
                del self._at_work[uuid, session]
                self._owed.add((uuid, session))
                with contextlib.suppress(KedgeError):  # see `settle`
                    self._strike(uuid, session)

    def settle(self) -> None:
        """Strike out what is owed."""
        with self._lock:
            for uuid, session in sorted(self._owed, key=str):
                self._strike(uuid, session)

    def _strike(self, uuid: str, session: Session) -> None:
        self._sessions.drop(uuid, [session])
        self._owed.discard((uuid, session))


@dataclass(frozen=True)
class Workers:
    """Of one profile on one node."""

    place: Place
    _register: _Register = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_register", _Register(self.place.sessions))

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
        self._register.begin(uuid, session)
        try:
            yield address
        finally:
            self._register.end(uuid, session)

    def settle(self) -> None:
        """Strike out what this process could not, and bury the dead of this node, whatever volume
        they were at. Raises what the cluster raises; then it is tried again."""
        self._register.settle()
        for uuid, found in self.place.sessions.all().items():
            if self._dead(found):
                with self.place.locked(uuid):
                    self.bury(uuid)

    def bury(self, uuid: str) -> None:
        """Break the watches of what a dead process of this node was doing, and strike it out."""
        if dead := self._dead(self.place.sessions.of(uuid)):
            Fence(self.place.cluster).blocklist(one.address for one in dead)
            self.place.sessions.drop(uuid, dead)

    def counting(self, found: list[Session], watchers: set[str]) -> list[Session]:
        """Those of these that may still do something, but not this process itself."""
        mine = self.place.cluster.address()
        others = [one for one in found if not (one.work and one.address == mine)]
        return [one for one in others if one.work != Work.BRIEF.value or one.address in watchers]

    def _dead(self, found: list[Session]) -> list[Session]:
        """What earlier processes of this node were at."""
        mine = self.place.cluster.address()
        node = self.place.node
        return [one for one in found if one.work and one.node == node and one.address != mine]
