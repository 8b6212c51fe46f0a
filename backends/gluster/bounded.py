"""Asking something of a file system that may not answer for a long time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.errors import Unavailable

R = TypeVar("R")


def bounded(what: str, seconds: float, ask: Callable[[], R]) -> R:
    """What `ask` returns or raises; Unavailable, naming `what`, when that takes longer than
    `seconds`. Then `ask` goes on in a thread of its own until the kernel lets it go."""
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
        raise Unavailable(
            f"{what} does not answer within {seconds:g} s; are its servers reachable, and enough "
            "of its bricks online?"
        )
    return results[0]


@dataclass(frozen=True)
class InTime:
    """Every call ends within `seconds`; Unavailable, naming `what`, otherwise: then a write may or
    may not happen, as with any lost reply."""

    what: str
    seconds: float

    def __call__(self, call: Callable[[], R], /) -> R:
        return bounded(self.what, self.seconds, call)
