"""Records that a full disk does not keep from being changed."""

from backends.records import Record, Records
from backends.tree.reserve import Reserve


class ReservedRecords(Records):
    """A change of what is there may use the reserve; the room is not for making more."""

    def __init__(self, inner: Records, reserve: Reserve) -> None:
        self._inner = inner
        self._reserve = reserve

    def get(self, key: str) -> Record | None:
        return self._inner.get(key)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        if expected is None:
            return self._inner.put(key, value, expected=expected)
        return self._reserve.spend(lambda: self._inner.put(key, value, expected=expected))

    def delete(self, key: str, *, expected: str) -> None:
        self._inner.delete(key, expected=expected)

    def keys(self, kind: str) -> list[str]:
        return self._inner.keys(kind)

    def stamps(self, kind: str) -> dict[str, str]:
        return self._inner.stamps(kind)
