"""How long ago an owner knew that the disk was still his: what strict reads go by.

An owner who was frozen or cut off does not know that another one has taken the disk. With strict
reads none is answered unless the disk was his a moment ago: a record of his was accepted, or the
head named him. That is known as of the moment before the request was begun that showed it, never as
of its answer, which may come any time later.

A moment is what several clocks say, and the one that has gone furthest counts: a machine that
sleeps stops one of them, and whoever sets another one sets it forward, or back, which counts for
nothing. A clock that runs too fast only makes an owner ask more often.
"""

import enum
import threading
from collections.abc import Callable

from backends.disk.core.waits import Waits

Moment = tuple[float, ...]


class Reads(enum.Enum):
    """What an owner has to know before he answers a read."""

    RELAXED = "relaxed"
    STRICT = "strict"


class Tenure:
    """Of one owner. `trust`: seconds for which he goes by what he knew; 0: for ever."""

    def __init__(
        self,
        trust: float = 0.0,
        moment: Callable[[], Moment] = lambda: (0.0,),
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.moment = moment
        self.waits = Waits(clock)
        """Reads that wait until somebody knows."""
        self._trust = trust
        self._known: Moment | None = None
        self._asking = threading.Lock()

    def prove(self, began: Moment) -> None:
        """A request that was begun at that moment has shown that the disk was his."""
        if self._known is None or self._since(began) < self._since(self._known):
            self._known = began

    def assure(self, ask: Callable[[], object]) -> None:
        """Return when he knows it. `ask` asks the store, waits while it is away, and raises Fenced
        when it is not so: one asks, for all who wait."""
        if not self._trust or self._trusted():
            return
        with self.waits.one(), self._asking:
            while not self._trusted():
                began = self.moment()
                ask()
                self.prove(began)

    def _trusted(self) -> bool:
        return self._known is not None and self._since(self._known) < self._trust

    def _since(self, before: Moment) -> float:
        pairs = zip(before, self.moment(), strict=True)
        return max(now - then for then, now in pairs)
