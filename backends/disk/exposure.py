"""How long what a flush has confirmed may be on this node alone (`rpo_limit`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Exposure:
    """Of one disk. `limit`: seconds; 0: without end. `found`: the last entry of a local log that
    was there already when the disk was opened; how old it is, nobody knows, so it counts as too old
    until it is in the store."""

    def __init__(
        self, limit: float = 0.0, *, clock: Callable[[], float] = lambda: 0.0, found: int = 0
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._found = found
        self._waiting: list[float] = []

    def too_long(self, since: float | None, shipped: int) -> bool:
        """Whether nothing may be confirmed now: `since` is when the oldest write that is not in the
        store was made (None: all are), `shipped` the last entry that is."""
        if not self._limit or since is None:
            return False
        return shipped < self._found or self._clock() - since >= self._limit

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Meanwhile a flush waits."""
        began = self._clock()
        self._waiting.append(began)
        try:
            yield
        finally:
            self._waiting.remove(began)

    @property
    def held(self) -> float:
        """For how many seconds the flush has waited that waits longest; 0: none does."""
        return max((self._clock() - began for began in self._waiting[:]), default=0.0)
