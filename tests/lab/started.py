"""Real parts that are there for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Part(Protocol):
    """An engine, a node, a cluster, a server."""

    def start(self) -> None:
        """It serves when this returns."""

    def close(self) -> None:
        """End it, whatever has become of it, and leave no trace."""


P = TypeVar("P", bound=Part)


@contextmanager
def started(part: P) -> Iterator[P]:
    """Started before the block, gone after it; also when it did not start."""
    try:
        part.start()
        yield part
    finally:
        part.close()
