"""Catalog records as typed entries: read, compare-and-swap, list with a cache."""

from dataclasses import replace
from typing import Generic

from backends.base import O
from backends.catalog.entry import Entry, decode, encode
from backends.errors import Damaged
from backends.records import Records


class Entries(Generic[O]):
    """All records of one kind (`volumes`, keyed by name; `trash`, keyed by uuid)."""

    def __init__(self, records: Records, kind: str, options: type[O]) -> None:
        self._records = records
        self._kind = kind
        self._options = options
        self._seen: dict[str, tuple[str, Entry[O] | Damaged]] = {}

    def find(self, name: str) -> Entry[O] | None:
        """The entry as it is now, or None. Raises Damaged when it cannot be read."""
        record = self._records.get(f"{self._kind}/{name}")
        return None if record is None else decode(record, self._options)

    def add(self, name: str, entry: Entry[O]) -> Entry[O]:
        """Write an entry that is not there yet. Raises Conflict when it is."""
        return self._put(name, entry, None)

    def change(self, name: str, entry: Entry[O]) -> Entry[O]:
        """Write an entry over the version it was read as. Raises Conflict when that is gone."""
        return self._put(name, entry, entry.version)

    def delete(self, name: str, entry: Entry[O]) -> None:
        """Delete the version that was read. Raises Conflict when that is gone."""
        self._records.delete(f"{self._kind}/{name}", expected=entry.version)

    def all(self) -> list[Entry[O] | Damaged]:
        """Every entry, sorted by key; one that cannot be read is its error. Only those that
        changed since the last call are read."""
        seen: dict[str, tuple[str, Entry[O] | Damaged]] = {}
        for key, stamp in sorted(self._records.stamps(self._kind).items()):
            known = self._seen.get(key)
            if known is not None and known[0] == stamp:
                seen[key] = known
            elif (read := self._read(key)) is not None:
                seen[key] = (stamp, read)
        self._seen = seen
        return [entry for _, entry in seen.values()]

    def _put(self, name: str, entry: Entry[O], expected: str | None) -> Entry[O]:
        record = self._records.put(f"{self._kind}/{name}", encode(entry), expected=expected)
        return replace(entry, version=record.version)

    def _read(self, key: str) -> Entry[O] | Damaged | None:
        try:
            return self.find(key.partition("/")[2])
        except Damaged as error:
            return error
