"""Fewer requests at once to a store that refuses some as too many; `window.py` says how many.

Who waits for whom: a read, which somebody waits for, goes before a write, and a write before what
nobody waits for (`last`), but whoever has waited for PATIENCE goes before all. A permit is held for
one request only, and never while another one is asked for. As long as nothing is refused this costs
a lock that nobody holds.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from backends.errors import Conflict, NotFound
from backends.stores.base import Listed, Store, Throttled
from backends.stores.window import Sent, Window

T = TypeVar("T")
PATIENCE = 5.0
_READ, _WRITE, _LAST = range(3)
_LOOK = 0.5
"""Seconds after which who waits looks again by himself."""


class _Turn:
    """A place in the row of those who wait."""

    def __init__(self, rank: int, since: float) -> None:
        self.rank = rank
        self.since = since

    def before(self, now: float) -> tuple[int, float]:
        """What the first in the row has least of."""
        return -1 if now - self.since > PATIENCE else self.rank, self.since


class Gate:
    """Lets requests of one process through. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], window: Window | None = None) -> None:
        self.window = window or Window()
        self._clock = clock
        self._changed = threading.Condition()
        self._row: list[_Turn] = []

    def strained(self) -> bool:
        """Whether the store has refused requests lately."""
        with self._changed:
            self.window.wait(self._clock())
            return self.window.limit is not None

    def through(self, rank: int, call: Callable[[], T]) -> T:
        """What `call` returns or raises, made when it may be."""
        sent = self._enter(rank)
        try:
            answer = call()
        except Throttled:
            self._left(lambda now: self.window.refused(sent, now))
            raise
        except (NotFound, Conflict):
            self._left(lambda now: self.window.answered(sent, now))
            raise
        except BaseException:
            self._left(lambda now: self.window.ended())
            raise
        self._left(lambda now: self.window.answered(sent, now))
        return answer

    def _enter(self, rank: int) -> Sent:
        with self._changed:
            now = self._clock()
            if not self._row and self.window.wait(now) == 0:
                return self.window.sent(now)
            turn = _Turn(rank, now)
            self._row.append(turn)
            try:
                self._await(turn)
                return self.window.sent(self._clock())
            finally:
                self._row.remove(turn)
                self._changed.notify_all()

    def _await(self, turn: _Turn) -> None:
        while True:
            now = self._clock()
            seconds: float | None = None
            if min(self._row, key=lambda one: one.before(now)) is turn:
                seconds = self.window.wait(now)
                if seconds == 0:
                    return
            self._changed.wait(_LOOK if seconds is None else min(seconds, _LOOK))

    def _left(self, note: Callable[[float], None]) -> None:
        with self._changed:
            note(self._clock())
            if self._row:
                self._changed.notify_all()


class Easing(Store):
    """`inner`, each request through the gate."""

    def __init__(self, inner: Store, gate: Gate, *, last: bool = False) -> None:
        """`last`: for requests that nobody waits for."""
        self._inner = inner
        self._gate = gate
        self._read, self._write = (_LAST, _LAST) if last else (_READ, _WRITE)

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._gate.through(self._read, lambda: self._inner.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        return self._gate.through(self._read, lambda: self._inner.get_range(key, start, length))

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        self._gate.through(self._write, lambda: self._inner.put_if_absent(key, body))

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        self._gate.through(self._write, lambda: self._inner.put(key, body))

    def delete(self, key: str) -> None:
        """See Store."""
        self._gate.through(_LAST, lambda: self._inner.delete(key))

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        return self._gate.through(self._write, lambda: self._inner.list(prefix, after))

    def head(self, key: str) -> int | None:
        """See Store."""
        return self._gate.through(self._read, lambda: self._inner.head(key))

    def renew(self) -> None:
        """See Store."""
        self._inner.renew()
