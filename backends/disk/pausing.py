"""Waiting before a store is asked again, until nobody wants an answer any more."""

import threading

from backends.errors import Unavailable

LONGEST = 5.0
"""Seconds between two attempts at most."""


def pause_before(count: int) -> float:
    """Seconds to wait before asking for the `count`-th time again."""
    return min(LONGEST, 0.05 * (1 << min(count, 10)))


class Pause:
    """Of one disk; called with the number of the repetition. Thread-safe."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def __call__(self, count: int) -> None:
        """Wait. Unavailable when the disk was given up before or meanwhile."""
        if self._over.wait(pause_before(count)):
            raise Unavailable("the disk was let go while the store did not answer")

    def give_up(self) -> None:
        """Whoever waits or would wait gets Unavailable from now on."""
        self._over.set()
