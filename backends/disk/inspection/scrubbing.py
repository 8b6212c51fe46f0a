"""Reading what nobody reads, to find what is damaged while there may still be a copy of it.

One object at a time, each after some seconds, round and round, but no round sooner than a day
after the one before: reading few objects over and over would only cost. What is wrong is only told:
reads of it fail by themselves, and nothing is ever repaired by guessing.
"""

from collections.abc import Callable

from backends.disk.core.naming import located, maker
from backends.disk.inspection.examining import examine
from backends.disk.journal import Journal
from backends.disk.reading.reader import Reader
from backends.errors import NotFound
from backends.stores.base import Store

_REFETCH = 3
ROUND = 24 * 3600.0
"""Seconds from the beginning of one round to that of the next, at least."""


class Scrubber:
    """Of one open disk; `every` seconds an object, 0: none. `clock` is monotonic."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        reader: Reader,
        *,
        every: float,
        clock: Callable[[], float],
    ) -> None:
        self.looked = 0
        """Objects that were looked over."""
        self._journal = journal
        self._store = store
        self._reader = reader
        self._every = every
        self._clock = clock
        self._due = clock() + every
        self._last = 0
        self._began = clock()
        """When the round began that is under way."""

    def step(self) -> None:
        """Look the next object over if it is time. Unavailable."""
        if not self._every or self._clock() < self._due:
            return
        self._due = self._clock() + self._every
        if (number := self._next()) is not None:
            self._look(number)
            self._last = number

    def _next(self) -> int | None:
        """Also what was made since the round began; then the first, if it is time."""
        with self._journal.lock:
            live = [n for n, found in self._journal.map.objects.items() if found.live]
        ahead = min((n for n in live if n > self._last), default=None)
        if ahead is None and self._clock() - self._began >= ROUND:
            self._began = self._clock()
            return min(live, default=None)
        return ahead

    def _look(self, number: int) -> None:
        journal = self._journal
        with journal.lock:
            holder = journal.map.objects.get(number)
        if holder is None:
            return
        key, uuid = located(journal.prefix, holder.key), maker(journal.uuid, holder.key)
        fault = ""
        for _ in range(_REFETCH):
            try:
                found = examine(holder, self._store.get(key), journal.coder, uuid=uuid)
            except NotFound:
                fault = f"object {key} is missing"
                break
            fault = f"object {key} is damaged" if found.fault or found.bad else ""
            if not fault:
                break
            self._store.renew()
        self.looked += 1
        with journal.lock:
            needed = number in journal.map.objects and holder.live
        if fault and needed:
            self._reader.note_damage(fault)
