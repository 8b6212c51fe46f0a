"""Records in an object store that can do nothing but create an object once.

    records/<kind>/<name>/<n>      state n of one key; n counts from 1 and never restarts

A change of state n is the creation of slot n+1: the store lets one of any number of writers make
it. States that were replaced are deleted in strictly ascending order. So a writer that slept since
state n and finds n+1 free again can tell: if n itself is gone, n+1 had been there before it was
made anew, and it lost. Slot 0 testifies for slot 1: it is made before slot 1 is ever deleted, and
stays. docs/decisions/ argues it.

A removed key keeps one small object, its tombstone: without it the numbers would start again and
a sleeper could take the new key for the old one.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress

from backends.errors import Conflict, Damaged, NotFound, Unavailable
from backends.records import slots
from backends.records.base import Record, Records, checked_key, checked_value
from backends.records.slots import FIRST, GRAVE, WITNESS, Slot
from backends.records.versions import ANCESTORS, Version
from backends.stores.base import Store
from backends.stores.settled import create

_TRIES = 8
_KNOWN = 1024
"""Keys whose last known state is remembered."""


class StoreRecords(Records):
    """Safe from many threads, processes and machines. Needs create-if-absent, and that reads and
    listings show what was written before; `probe.py` looks for stores that do not."""

    def __init__(
        self,
        store: Store,
        *,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        remember: bool = False,
    ) -> None:
        """`remember`: read again without listing what was read before, for those who read the same
        few records for ever."""
        self._remember = remember
        self._store = store
        self._nonce = nonce
        self._deleted: dict[str, int] = {}
        self._known: dict[str, Slot] = {}
        """States that certainly were the latest of their keys once."""
        self._seen: dict[str, tuple[int, str]] = {}

    def get(self, key: str) -> Record | None:
        """See Records."""
        slot = self._latest(checked_key(key))
        if slot is None or slot.value is None:
            return None
        return Record(key, slot.value, str(slot.version))

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """See Records."""
        checked_value(checked_key(key), value)
        old = self._absent(key) if expected is None else self._expected(key, expected)
        version = self._advance(key, old, value)
        return Record(key, value, str(version))

    def put_alone(
        self, key: str, value: bytes, *, expected: str, alone: Callable[[], bool]
    ) -> Record:
        """See Records. Saves the read that tells whether the slot was made for the first time: only
        somebody else's change, made and deleted since `expected`, could have left it free."""
        checked_value(checked_key(key), value)
        known = self._known.get(key)
        if known is None or str(known.version) != expected or known.value is None:
            known = self._expected(key, expected)
        version = self._advance(key, known, value, alone)
        return Record(key, value, str(version))

    def delete(self, key: str, *, expected: str) -> None:
        """See Records."""
        self._advance(key, self._expected(checked_key(key), expected), None)

    def glance(self, key: str, seen: str | None) -> str | None:
        """See Records. Costs a read of what comes after `seen`, and one of it if nothing does; one
        more if both are gone, and only then a listing."""
        version = Version.parse(seen) if seen else None
        if version:
            for number in (version.number + 1, version.number, version.number + 2):
                found = self._try_read(checked_key(key), number)
                if found and number == version.number:
                    if found.version == version:
                        return seen
                    break
                if found:
                    return None if found.value is None else str(found.version)
        return super().glance(key, seen)

    def keys(self, kind: str) -> list[str]:
        """See Records. Costs one listing."""
        return sorted(self._present(kind))

    def stamps(self, kind: str) -> dict[str, str]:
        """See Records. Costs one listing, and one request for each record that changed since the
        last call (and then a second listing, as in `_latest`)."""
        for _ in range(_TRIES):
            present = self._present(kind)
            fresh = {key: n for key, n in present.items() if self._seen.get(key, (0, ""))[0] != n}
            read = {key: self._try_read(key, number) for key, number in fresh.items()}
            after = self._present(kind) if fresh else present
            for key, slot in read.items():
                if slot is not None and after.get(key) == slot.version.number:
                    self._seen[key] = (slot.version.number, str(slot.version))
            if all(self._seen.get(key, (0, ""))[0] == number for key, number in present.items()):
                return {key: self._seen[key][1] for key in sorted(present)}
        raise Unavailable(f"records of {kind} change faster than they can be listed; try again")

    def _present(self, kind: str) -> dict[str, int]:
        """The highest slot of each key that is no tombstone."""
        found: dict[str, int] = {}
        for item in self._store.list(slots.of_kind(kind)):
            if slot := slots.key_and_number(item.key):
                key, number = slot
                found[key] = 0 if item.size <= GRAVE else number
        return {key: number for key, number in found.items() if number}

    def _absent(self, key: str) -> Slot | None:
        """The tombstone of a key that is not there, or None when it never was."""
        slot = self._latest(key)
        if slot is not None and slot.value is not None:
            raise Conflict(f"record {key} is there already; read it")
        return slot

    def _expected(self, key: str, expected: str) -> Slot:
        """The slot of the version that the caller read, if it is there: a bucket that was put back
        to an earlier state has lost it, and then the next one is not made. Whether it is the
        latest, the creation of the next one shows."""
        version = Version.parse(expected)
        with suppress(NotFound):
            if version and (slot := self._read(key, version.number)).version == version:
                return slot
        raise Conflict(f"record {key} is no longer at version {expected}; read it again")

    def _latest(self, key: str) -> Slot | None:
        """The highest slot."""
        known = self._known.get(key)
        if known and self._unchanged(key, known):
            return known
        latest = self._listed(key)
        if latest:
            self._learn(key, latest)
        return latest

    def _unchanged(self, key: str, known: Slot) -> bool:
        """Whether a state that once was the latest still is, with two reads and no listing. First
        that the next one is not there, then that this one is: as long as it is, none after it was
        deleted, so the next one had not been made when it was looked for."""
        if self._try_read(key, known.version.number + 1):
            return False
        present = self._try_read(key, known.version.number)
        return present is not None and present.version == known.version

    def _learn(self, key: str, slot: Slot) -> None:
        if not self._remember:
            return
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[key] = slot

    def _listed(self, key: str) -> Slot | None:
        """The highest slot. Listed before and after it was read, for in between it may have been
        replaced, deleted and made a second time by a sleeper; what sleepers make is never the
        highest."""
        number = self._highest(key)
        for _ in range(_TRIES):
            slot = self._try_read(key, number) if number else None
            before, number = number, self._highest(key) if number else number
            if number == before and (slot or not number):
                return slot
        raise Unavailable(f"record {key} changes faster than it can be read; try again")

    def _highest(self, key: str) -> int:
        found = (slots.key_and_number(item.key) for item in self._store.list(slots.of_key(key)))
        return max((slot[1] for slot in found if slot), default=WITNESS)

    def _advance(
        self,
        key: str,
        old: Slot | None,
        value: bytes | None,
        alone: Callable[[], bool] = lambda: False,
    ) -> Version:
        """Make the state after `old`, or raise Conflict, or Unavailable if that is not known."""
        floor = max(FIRST, old.floor if old else 0, self._deleted.get(key, 0))
        tried: dict[bytes, Version] = {}
        version = self._make(key, old, lambda new: Slot(new, floor, value).sealed(key), tried)
        if version is None or not (alone() or self._is_first(key, old)):
            version = self._sort_out(key, list(tried.values()), version)
        self._learn(key, Slot(version, floor, value))
        with suppress(Unavailable):
            self._drop(key, floor, version.number)
        return version

    def _make(
        self,
        key: str,
        old: Slot | None,
        body: Callable[[Version], bytes],
        tried: dict[bytes, Version],
    ) -> Version | None:
        """The version of ours that stands in the next slot, None if another's does. Every
        attempt is a version of its own: a request whose reply was lost may be carried out much
        later, and must not make a witness that looks like the true one."""
        for _ in range(_TRIES):
            version = old.version.child(self._nonce()) if old else Version(FIRST, self._nonce())
            content = body(version)
            tried[content] = version
            with suppress(Unavailable):
                taken = create(self._store, slots.name_of(key, version.number), content)
                return version if taken is None else tried.get(taken.body)
        raise Unavailable(f"it is not known whether record {key} was written; read it again")

    def _is_first(self, key: str, old: Slot | None) -> bool:
        """Whether the slot after `old` was made for the first time: is its witness as it was?"""
        if old is None:
            return self._store.head(slots.name_of(key, WITNESS)) is None
        before = self._try_read(key, old.version.number)
        return before is not None and before.version == old.version

    def _sort_out(self, key: str, tried: list[Version], made: Version | None) -> Version:
        """Which of `tried` became a state of the key? Another body stands in their slot, or
        `made` does and its witness is gone. Others may have built on ours and deleted it since,
        and a sleeper, perhaps ourselves, then made the slot a second time. If there is nothing
        behind it, the bucket was put back to a time before its witness, and it is no state."""
        latest = self._latest(key)
        ahead = latest.version.number - tried[0].number if latest else -1
        for version in tried:
            if latest and ahead > 0 and latest.version.descends(version):
                return version
        if made:
            with suppress(Unavailable):
                self._store.delete(slots.name_of(key, made.number))
        if ahead > ANCESTORS or ahead < 0 or (latest and latest.version in tried):
            raise Unavailable(f"it is not known whether record {key} was written; read it again")
        raise Conflict(f"record {key} was changed by another writer; read it again")

    def _drop(self, key: str, floor: int, number: int) -> None:
        """Delete the slots that `number` replaced, one after the other."""
        if floor == FIRST < number:
            self._store.put(slots.name_of(key, WITNESS), b"kedge-witness 1\n")
        for old in range(floor, number):
            self._store.delete(slots.name_of(key, old))
            self._deleted[key] = old + 1

    def _try_read(self, key: str, number: int) -> Slot | None:
        try:
            return self._read(key, number)
        except NotFound:
            return None

    def _read(self, key: str, number: int) -> Slot:
        name = slots.name_of(key, number)
        for _ in range(_TRIES - 1):
            with suppress(Damaged):
                return Slot.unsealed(key, number, self._store.get(name))
        return Slot.unsealed(key, number, self._store.get(name))
