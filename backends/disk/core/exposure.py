"""How long what a flush has confirmed may be on this node alone (`rpo_limit`)."""

from collections.abc import Callable

from backends.disk.core.waits import Waits


class Exposure:
    """Of one disk. `limit`: seconds; 0: without end. `found`: the last entry of a local log that
    was there already when the disk was opened; how old it is, nobody knows, so it counts as too old
    until it is in the store."""

    def __init__(self, limit: float, *, clock: Callable[[], float], found: int = 0) -> None:
        self.waits = Waits(clock)
        """Flushes that wait for the store, because of the limit."""
        self._limit = limit
        self._clock = clock
        self._found = found

    def too_long(self, since: float | None, shipped: int) -> bool:
        """Whether nothing may be confirmed now: `since` is when the oldest write that is not in the
        store was made (None: all are), `shipped` the last entry that is."""
        if not self._limit or since is None:
            return False
        return shipped < self._found or self._clock() - since >= self._limit
