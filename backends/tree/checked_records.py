"""Records that are only reached while their root is the right one."""

from collections.abc import Callable

from backends.records import Record, Records


class CheckedRecords(Records):
    """Calls `check` before every operation of `inner`, which is not even made before."""

    def __init__(self, inner: Callable[[], Records], check: Callable[[], object]) -> None:
        self._make = inner
        self._check = check
        self._made: Records | None = None

    def get(self, key: str) -> Record | None:
        return self._inner().get(key)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        return self._inner().put(key, value, expected=expected)

    def delete(self, key: str, *, expected: str) -> None:
        self._inner().delete(key, expected=expected)

    def keys(self, kind: str) -> list[str]:
        return self._inner().keys(kind)

    def stamps(self, kind: str) -> dict[str, str]:
        return self._inner().stamps(kind)

    def _inner(self) -> Records:
        self._check()
        if self._made is None:
            self._made = self._make()
        return self._made
