"""One lock per volume name, taken with a deadline, that can say who holds it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from backends.errors import Busy


@dataclass
class _Lock:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    doing: str = ""
    since: float = 0.0


class Locks:
    """Locks appear when they are asked for and vanish when nobody wants them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._locks: dict[str, _Lock] = {}

    @contextmanager
    def hold(self, name: str, doing: str, seconds: float) -> Iterator[None]:
        """Hold the lock of `name`. Busy, saying what the holder does and since when, when it is
        not free within `seconds`."""
        with self._guard:
            lock = self._locks.setdefault(name, _Lock())
            lock.users += 1
        try:
            if not lock.lock.acquire(timeout=seconds):
                age = self._clock() - lock.since
                raise Busy(f"volume {name} is busy: {lock.doing} since {age:.0f} s; try again")
            try:
                lock.doing, lock.since = doing, self._clock()
                yield
            finally:
                lock.lock.release()
        finally:
            with self._guard:
                lock.users -= 1
                if not lock.users:
                    del self._locks[name]
