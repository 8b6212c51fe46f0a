"""Records that are only reached through a guard."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from backends.records.base import Record, Records

R = TypeVar("R")


class Guard(Protocol):
    """Stands before every call: makes it and returns its answer, or raises."""

    def __call__(self, call: Callable[[], R], /) -> R:
        """What `call` returns or raises, unless the guard has something against it."""


class GuardedRecords(Records):
    """Every verb of `inner` is a call that is handed to `guard`."""

    def __init__(self, inner: Records, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def get(self, key: str) -> Record | None:
        return self._guard(lambda: self._inner.get(key))

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        return self._guard(lambda: self._inner.put(key, value, expected=expected))

    def put_alone(
        self, key: str, value: bytes, *, expected: str, alone: Callable[[], bool]
    ) -> Record:
        return self._guard(
            lambda: self._inner.put_alone(key, value, expected=expected, alone=alone)
        )

    def delete(self, key: str, *, expected: str) -> None:
        self._guard(lambda: self._inner.delete(key, expected=expected))

    def glance(self, key: str, seen: str | None) -> str | None:
        return self._guard(lambda: self._inner.glance(key, seen))

    def keys(self, kind: str) -> list[str]:
        return self._guard(lambda: self._inner.keys(kind))

    def stamps(self, kind: str) -> dict[str, str]:
        return self._guard(lambda: self._inner.stamps(kind))


class Checked:
    """A guard that asks `check` first, which raises when the records may not be reached."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check

    def __call__(self, call: Callable[[], R], /) -> R:
        self._check()
        return call()
