"""Records in this process's memory: for tests, simulations and the memory backend."""

import threading

from backends.errors import Conflict
from backends.records.base import Record, Records, checked_key, checked_value


class MemoryRecords(Records):
    """Gone with the process. Objects that share one instance see one store."""

    def __init__(self) -> None:
        self._present: dict[str, Record] = {}
        self._lock = threading.Lock()
        self._writes = 0

    def get(self, key: str) -> Record | None:
        """See Records."""
        with self._lock:
            return self._present.get(checked_key(key))

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """See Records."""
        checked_value(checked_key(key), value)
        with self._lock:
            self._check(key, expected)
            self._writes += 1
            written = Record(key, value, version=str(self._writes))
            self._present[key] = written
            return written

    def delete(self, key: str, *, expected: str) -> None:
        """See Records."""
        with self._lock:
            self._check(checked_key(key), expected)
            del self._present[key]

    def keys(self, kind: str) -> list[str]:
        """See Records."""
        return sorted(self.stamps(kind))

    def stamps(self, kind: str) -> dict[str, str]:
        """See Records."""
        prefix = checked_key(f"{kind}/any").removesuffix("any")
        with self._lock:
            return {k: r.version for k, r in self._present.items() if k.startswith(prefix)}

    def _check(self, key: str, expected: str | None) -> None:
        present = self._present.get(key)
        current = present.version if present else None
        if current != expected:
            raise Conflict(
                f"record {key} is at version {current or 'absent'}, not {expected or 'absent'}; "
                "read it again"
            )
