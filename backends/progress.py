"""How far a long copy is, for whoever waits for the verb that makes it.

Copies are made deep below verbs that are short as a rule (`create`, `snapshot_create`), so who
listens is not handed down through all of them: it belongs to the context in which the verb is
called. `copying` tells; the driver listens where somebody waits for the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from backends.inspection import Progress, unwatched

_listener: ContextVar[Progress] = ContextVar("listener", default=unwatched)


@contextmanager
def heard_by(listener: Progress) -> Iterator[None]:
    """What is copied in the block, by this thread, is told to `listener`."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def part(number: int, of: int) -> Iterator[None]:
    """What is copied in the block is one of several copies of the same size, counted from 0."""
    whole = _listener.get()
    with heard_by(lambda done, total: whole(number * total + done, of * total)):
        yield


def tell(done: int, total: int) -> None:
    """So many bytes of so many are copied. Raises what the listener raises, to stop the copy."""
    _listener.get()(done, total)
