"""Records that answer in time, or say that they cannot."""

from collections.abc import Callable
from typing import TypeVar

from backends.gluster.bounded import bounded
from backends.records import Record, Records

R = TypeVar("R")


class BoundedRecords(Records):
    """Every call of `inner` ends within `seconds`; Unavailable otherwise, and then a write may or
    may not happen, as with any lost reply."""

    def __init__(self, inner: Records, what: str, seconds: float) -> None:
        self._inner = inner
        self._what = what
        self._seconds = seconds

    def get(self, key: str) -> Record | None:
        return self._ask(lambda: self._inner.get(key))

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        return self._ask(lambda: self._inner.put(key, value, expected=expected))

    def delete(self, key: str, *, expected: str) -> None:
        self._ask(lambda: self._inner.delete(key, expected=expected))

    def keys(self, kind: str) -> list[str]:
        return self._ask(lambda: self._inner.keys(kind))

    def stamps(self, kind: str) -> dict[str, str]:
        return self._ask(lambda: self._inner.stamps(kind))

    def _ask(self, call: Callable[[], R]) -> R:
        return bounded(self._what, self._seconds, call)
