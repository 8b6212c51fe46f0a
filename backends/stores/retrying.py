"""Repeating what may be repeated: reads, deletions and plain writes of content that is the same.

Conditional creations pass through once; `settled.py` knows how to repeat those. Waits grow from
`first` to `longest` seconds with full jitter, so that a crowd does not come back as one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.errors import Unavailable
from backends.stores.base import Listed, Store

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How often and how slowly. `sleep` and `chance` (0 <= x < 1) are the caller's."""

    sleep: Callable[[float], None]
    chance: Callable[[], float]
    attempts: int = 6
    first: float = 0.1
    longest: float = 5.0

    def pause(self, count: int) -> float:
        """Seconds to wait before the `count`-th repetition."""
        return min(self.longest, self.first * 2.0 ** min(count, 20)) * (0.1 + 0.9 * self.chance())


class Retrying(Store):
    """`inner`, with failures of repeatable calls hidden for a while."""

    def __init__(self, inner: Store, patience: Patience) -> None:
        self._inner = inner
        self._patience = patience

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._repeat(lambda: self._inner.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        return self._repeat(lambda: self._inner.get_range(key, start, length))

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store. Not repeated."""
        self._inner.put_if_absent(key, body)

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        self._repeat(lambda: self._inner.put(key, body))

    def delete(self, key: str) -> None:
        """See Store."""
        self._repeat(lambda: self._inner.delete(key))

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        return self._repeat(lambda: self._inner.list(prefix, after))

    def head(self, key: str) -> int | None:
        """See Store."""
        return self._repeat(lambda: self._inner.head(key))

    def renew(self) -> None:
        """See Store."""
        self._inner.renew()

    def _repeat(self, attempt: Callable[[], T]) -> T:
        for count in range(self._patience.attempts - 1):
            try:
                return attempt()
            except Unavailable:
                self._patience.sleep(self._patience.pause(count))
        return attempt()
