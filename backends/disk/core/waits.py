"""Who waits for the store now, and for how long: for Status."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Waits:
    """Of one kind of request of one disk."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more waits during the block."""
        began = self._clock()
        self._begun.append(began)
        try:
            yield
        finally:
            self._begun.remove(began)

    @property
    def longest(self) -> float:
        """For how many seconds the one has waited that waits longest; 0: none does."""
        return max((self._clock() - began for began in self._begun[:]), default=0.0)
