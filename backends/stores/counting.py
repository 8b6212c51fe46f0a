"""How many requests a store gets: what is paid for, and what tells that something is wrong."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

from backends.stores.base import Listed, Store

T = TypeVar("T")
_SECONDS = 60.0


class Counting(Store):
    """`inner`, counted. `clock` is monotonic."""

    def __init__(self, inner: Store, clock: Callable[[], float]) -> None:
        self.total: Counter[str] = Counter()
        """Requests by verb."""
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._seconds: deque[tuple[int, int]] = deque()
        """Requests of each second of the last minute."""

    def per_minute(self) -> int:
        """Requests of the last minute, or as many as it would be after less."""
        with self._lock:
            self._forget()
            found = sum(count for _, count in self._seconds)
        passed = min(_SECONDS, max(1.0, self._clock() - self._began))
        return round(found * _SECONDS / passed)

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._counted("get", lambda: self._inner.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        return self._counted("get", lambda: self._inner.get_range(key, start, length))

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        self._counted("put", lambda: self._inner.put_if_absent(key, body))

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        self._counted("put", lambda: self._inner.put(key, body))

    def delete(self, key: str) -> None:
        """See Store."""
        self._counted("delete", lambda: self._inner.delete(key))

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        return self._counted("list", lambda: self._inner.list(prefix, after))

    def head(self, key: str) -> int | None:
        """See Store."""
        return self._counted("head", lambda: self._inner.head(key))

    def renew(self) -> None:
        """See Store."""
        self._inner.renew()

    def _counted(self, verb: str, call: Callable[[], T]) -> T:
        with self._lock:
            self.total[verb] += 1
            now = int(self._clock())
            if self._seconds and self._seconds[-1][0] == now:
                self._seconds[-1] = (now, self._seconds[-1][1] + 1)
            else:
                self._seconds.append((now, 1))
            self._forget()
        return call()

    def _forget(self) -> None:
        while self._seconds and self._seconds[0][0] <= self._clock() - _SECONDS - 1:
            self._seconds.popleft()
