"""A pool that does not answer in time is one that is not there."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from backends.errors import Unavailable
from backends.host.bounded import Bounded

R = TypeVar("R")


def in_time(pool: str, seconds: float, ask: Callable[[], R]) -> R:
    """What `ask` returns or raises; Unavailable, naming the pool, when that takes longer than
    `seconds`. Then `ask` goes on until the kernel lets it go."""
    return Bounded(ask).result(seconds, _silent(pool, seconds))


class InTime:
    """Every call ends within `seconds`; Unavailable, naming the pool, otherwise: then a write may
    or may not happen, as with any lost reply.

    Such a call leaves a thread that waits. When MOST of them do, whoever should answer is taken for
    hung itself, and `replace` is called, which has to end them: a client that the pool answers but
    that answers nobody would else be asked for ever."""

    MOST = 8

    def __init__(self, pool: str, seconds: float, replace: Callable[[], object]) -> None:
        self._pool = pool
        self._seconds = seconds
        self._replace = replace
        self._lock = threading.Lock()
        self._late: list[Bounded[Any]] = []

    def __call__(self, ask: Callable[[], R], /) -> R:
        call, silent = Bounded(ask), _silent(self._pool, self._seconds)
        if call.done(self._seconds):
            return call.result(0, silent)
        self._count(call)
        raise silent  # whatever the call says now: to replace the client has ended it

    def _count(self, late: Bounded[Any]) -> None:
        with self._lock:
            self._late = [one for one in (*self._late, late) if one.running()]
            if len(self._late) < self.MOST:
                return
            self._late = []
        self._replace()


def _silent(pool: str, seconds: float) -> Unavailable:
    return Unavailable(
        f"{pool} does not answer within {seconds:g} s; are its servers reachable, and enough of "
        "its bricks online?"
    )
