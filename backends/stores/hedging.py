"""A second request when the first one is slow: one slow part of a store must not slow a reader.

Only reads are asked twice. How long is slow follows from how long replies took; of all requests
few are doubled, so that a store which is slow as a whole is not made slower.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from backends.errors import Unavailable
from backends.stores.base import Listed, Store

LEAST = 0.1
"""Seconds that are never called slow."""
_FACTOR = 4.0
_SHARE = 20
"""At most one of so many requests is doubled, once the first few are."""
_FREE = 10
_OLD = 0.9


class Hedging(Store):
    """`inner`, with slow reads asked a second time. `clock` is monotonic."""

    def __init__(self, inner: Store, pool: Executor, clock: Callable[[], float]) -> None:
        self.asked = 0
        self.doubled = 0
        self._inner = inner
        self._pool = pool
        self._clock = clock
        self._usual = LEAST
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._hedged(lambda: self._inner.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        return self._hedged(lambda: self._inner.get_range(key, start, length))

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        self._inner.put_if_absent(key, body)

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        self._inner.put(key, body)

    def delete(self, key: str) -> None:
        """See Store."""
        self._inner.delete(key)

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        return self._inner.list(prefix, after)

    def head(self, key: str) -> int | None:
        """See Store."""
        return self._inner.head(key)

    def renew(self) -> None:
        """See Store."""
        self._inner.renew()

    def _hedged(self, attempt: Callable[[], bytes]) -> bytes:
        first = self._pool.submit(self._timed, attempt)
        wait([first], timeout=max(LEAST, _FACTOR * self._usual))
        if first.done() or not self._may_double():
            return first.result()
        return _first_answer({first, self._pool.submit(self._timed, attempt)})

    def _timed(self, attempt: Callable[[], bytes]) -> bytes:
        began = self._clock()
        body = attempt()
        with self._lock:
            self.asked += 1
            self._usual = _OLD * self._usual + (1 - _OLD) * (self._clock() - began)
        return body

    def _may_double(self) -> bool:
        with self._lock:
            if self.doubled >= _FREE + self.asked // _SHARE:
                return False
            self.doubled += 1
            return True


def _first_answer(running: "set[Future[bytes]]") -> bytes:
    """What comes first and is no failure; the failure, if both are."""
    while True:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for one in done:
            if not running or not isinstance(one.exception(), Unavailable):
                return one.result()
