"""Fetching blocks before they are asked for: ahead of streams, and after a mount those that were
read after the last one. All of it is a hint: what fails here, a read does itself."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from typing import Protocol

from backends.disk.core import hot
from backends.disk.core.ahead import Ahead
from backends.disk.core.hot import Hot
from backends.disk.journal import Journal
from backends.errors import KedgeError, Unavailable
from backends.stores.base import Store

_CHUNK = 1024
"""Blocks that are looked up and fetched before the next are: 4 MiB."""


class Warm(Protocol):
    """See Disk."""

    size: int

    def prefetch(self, first: int, count: int) -> "Sequence[Future[object]]": ...


class Warming:
    """Works for one disk, in `pool`, which must not be the one that the disk fetches in: tasks of
    the former wait for tasks of the latter."""

    def __init__(
        self,
        disk: Warm,
        journal: Journal,
        store: Store,
        pool: Executor,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], bytes],
    ) -> None:
        self.warmed = 0
        """Blocks that the last mount's list named and that are in the cache now."""
        self._disk = disk
        self._journal = journal
        self._store = store
        self._pool = pool
        self._new_id = new_id
        self._lock = threading.Lock()
        self._ahead = Ahead()
        self._hot = Hot(clock)
        self._ended = False

    def begin(self) -> "Future[None]":
        """Fetch what the last mount's list names, in the background."""
        return self._pool.submit(self._warm)

    def reading(self, first: int, count: int) -> None:
        """These blocks are about to be read."""
        if not count:
            return
        with self._lock:
            self._hot.note(first, count)
            following = self._ahead.after(first, count)
        if following and not self._ended:
            self._pool.submit(self._fetch, *following)

    def keep(self) -> None:
        """Put the list of this mount into the store, once, when it is time. Unavailable."""
        with self._lock:
            if self._ended or not self._hot.due():
                return
            self._hot.done, ranges = True, self._hot.ranges()
        if not ranges:
            return
        journal = self._journal
        key = f"{hot.PREFIX}{journal.owner.epoch:016x}-{self._new_id()[:8].hex()}"
        old = [item.key for item in self._store.list(journal.prefix + hot.PREFIX)]
        journal.put_sealed(key, hot.encode(ranges))
        for name in old:
            self._store.delete(name)

    def end(self) -> None:
        """Fetch nothing more."""
        self._ended = True

    def _warm(self) -> None:
        with suppress(KedgeError):
            journal = self._journal
            found = [item.key for item in self._store.list(journal.prefix + hot.PREFIX)]
            if not found:
                return
            body = journal.coder.open(found[-1], self._store.get(found[-1]))
            for first, count in hot.decode(body):
                self._fetch(first, count)
                self.warmed += count

    def _fetch(self, first: int, count: int) -> None:
        end = min(first + count, self._disk.size // 4096)
        with suppress(KedgeError):
            for at in range(first, end, _CHUNK):
                if self._ended:
                    raise Unavailable("the disk is being closed")
                wait(self._disk.prefetch(at, min(_CHUNK, end - at)))
