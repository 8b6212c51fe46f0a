"""Asking something of a file system that may not answer for a long time."""

import threading
from collections.abc import Callable
from typing import TypeVar

from backends.errors import Unavailable

R = TypeVar("R")


def bounded(
    what: str,
    seconds: float,
    ask: Callable[[], R],
    late: Callable[[threading.Thread], object] = lambda thread: None,
) -> R:
    """What `ask` returns or raises; Unavailable, naming `what`, when that takes longer than
    `seconds`. Then `ask` goes on in a thread of its own, which `late` is told of, until the kernel
    lets it go."""
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=f"asking {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        late(thread)
        raise Unavailable(
            f"{what} does not answer within {seconds:g} s; are its servers reachable, and enough "
            "of its bricks online?"
        )
    return results[0]


class InTime:
    """Every call ends within `seconds`; Unavailable, naming `what`, otherwise: then a write may or
    may not happen, as with any lost reply.

    Such a call leaves a thread that waits. When MOST of them do, whoever should answer is taken for
    hung itself, and `replace` is called, which has to end them: a client that the pool answers but
    that answers nobody would else be asked for ever."""

    MOST = 8

    def __init__(self, what: str, seconds: float, replace: Callable[[], object]) -> None:
        self._what = what
        self._seconds = seconds
        self._replace = replace
        self._lock = threading.Lock()
        self._waiting: list[threading.Thread] = []

    def __call__(self, call: Callable[[], R], /) -> R:
        return bounded(self._what, self._seconds, call, self._late)

    def _late(self, thread: threading.Thread) -> None:
        with self._lock:
            self._waiting = [one for one in (*self._waiting, thread) if one.is_alive()]
            if len(self._waiting) < self.MOST:
                return
            self._waiting = []
        self._replace()
