"""The object store as this project uses it: whole objects, and creation that happens once.

Only create-if-absent is asked of the store beyond plain reads and writes. Compare-and-swap by ETag
is missing, quoted differently or racy on more stores, and nothing here needs it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from backends.errors import Unavailable


@dataclass(frozen=True)
class Listed:
    """One object as a listing shows it."""

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)
    """When it was made or replaced, in seconds, by the store's own clock: to be compared with
    other values of the same store only."""


class Throttled(Unavailable):
    """The store refused a request because there are too many (503, 429): nothing was done."""


class Store(ABC):
    """Keys are plain text with `/` between parts. Every method raises Unavailable when the answer
    is not known: a read implies nothing then, and a write may have happened, may happen later, or
    never. Bodies that come back have the length that the store announced; whether the bytes are
    right, the caller checks.
    """

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object. NotFound when there certainly is none."""

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer at the end of the object. NotFound."""

    @abstractmethod
    def put_if_absent(self, key: str, body: bytes) -> None:
        """Make the object, if the key is free. Conflict when it certainly was not: then nothing
        was written by this call. At most one of any number of callers returns."""

    @abstractmethod
    def put(self, key: str, body: bytes) -> None:
        """Make or replace the object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Take the object away. Absent: does nothing."""

    @abstractmethod
    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """Every object whose key begins with `prefix` and sorts behind `after`, sorted."""

    @abstractmethod
    def head(self, key: str) -> int | None:
        """The object's size in bytes, or None when there certainly is none."""

    def renew(self) -> None:  # noqa: B027 - most have nothing to renew
        """Make new connections for what is asked from now on: what came over the old ones was
        wrong. Stores that have none do nothing."""
