"""Log records fetched before their turn: a new owner reads many, and each is a request of its own.

What came is used, for a record never changes. That one was not there says nothing: it may have been
made since, so whoever needs to know asks again.
"""

from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future

from backends.errors import NotFound, Unavailable

DEPTH = 16
"""Records that are on their way at a time."""


class Upcoming:
    """`fetch(seq)` gets one record. Without a pool nothing is fetched early."""

    def __init__(
        self, fetch: Callable[[int], bytes], pool: Executor | None, there: Collection[int]
    ) -> None:
        """`there`: the records that were there a moment ago."""
        self._there = there
        self._fetch = fetch
        self._pool = pool
        self._coming: dict[int, Future[bytes]] = {}

    def get(self, seq: int) -> bytes | None:
        """Record `seq`; None when it did not come, for whatever reason."""
        if self._pool is None or seq not in self._there:
            return None
        for later in range(seq, seq + DEPTH):
            if later in self._there and later not in self._coming:
                self._coming[later] = self._pool.submit(self._fetch, later)
        try:
            return self._coming.pop(seq).result()
        except (NotFound, Unavailable):
            self._coming.clear()
            return None
