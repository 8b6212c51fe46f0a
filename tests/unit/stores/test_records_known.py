"""StoreRecords that have seen a key before: what reading it costs, and that what they remember is
never taken for the present state when it was replaced before the read began."""

import time
from itertools import product
from typing import Any
from unittest.mock import patch

import pytest

from backends.errors import Conflict, Fenced, Unavailable
from backends.leases import Lease, LeaseWatch, end
from backends.records.slots import Slot
from backends.records.store import StoreRecords
from backends.stores.base import Listed
from backends.stores.counting import Counting
from backends.stores.memory import MemoryStore

KEY = "claims/one"


class Interrupted(MemoryStore):
    """Lets something happen before one of its requests; may lose what is to be deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.at = -1
        self.then: Any = None
        self.deletes = True

    def _count(self) -> None:
        self.at -= 1
        if self.at == -1 and self.then:
            then, self.then = self.then, None
            then()

    def get(self, key: str) -> bytes:
        self._count()
        return super().get(key)

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        self._count()
        return super().list(prefix, after)

    def delete(self, key: str) -> None:
        if not self.deletes:
            raise Unavailable("lost")
        super().delete(key)


def stale_reads() -> list[tuple[int, bool, int, int]]:
    """A reader knows a state. Others change it a few times before it reads again, with what they
    replace deleted or not yet, and a few times more within the read, before any of its requests."""
    found = []
    for before, deleted, within, request in product(range(4), (True, False), range(4), range(8)):
        store = Interrupted()
        reader, writer = StoreRecords(store, remember=True), StoreRecords(store, remember=True)
        latest = writer.put(KEY, b"0", expected=None)
        reader.get(KEY)

        def change(store: Interrupted, writer: StoreRecords, times: int) -> None:
            for _ in range(times):
                record = StoreRecords(store).get(KEY)
                assert record is not None
                value = b"%d" % (int(record.value) + 1)
                writer.put(KEY, value, expected=record.version)

        store.deletes = deleted
        change(store, writer, before)
        store.deletes = True
        store.then = lambda s=store, w=writer, times=within: change(s, w, times)
        store.at = request
        record = reader.get(KEY)
        assert record is not None
        assert latest.value == b"0"
        if int(record.value) < before:
            found.append((before, deleted, within, request))
    return found


def test_no_state_is_read_that_was_replaced_before() -> None:
    assert stale_reads() == []


def test_without_the_second_read_a_state_that_was_replaced_is_believed() -> None:
    def once(self: StoreRecords, key: str, known: Slot) -> bool:
        return self._try_read(key, known.version.number + 1) is None

    with patch.object(StoreRecords, "_unchanged", once):
        assert stale_reads()


def test_in_the_other_order_a_state_that_was_replaced_is_believed() -> None:
    def in_the_other_order(self: StoreRecords, key: str, known: Slot) -> bool:
        present = self._try_read(key, known.version.number)
        after = self._try_read(key, known.version.number + 1)
        return present is not None and present.version == known.version and after is None

    with patch.object(StoreRecords, "_unchanged", in_the_other_order):
        assert stale_reads()


def test_what_is_known_is_read_without_listing() -> None:
    store = Counting(MemoryStore(), time.monotonic)
    records = StoreRecords(store, remember=True)
    made = records.put(KEY, b"one", expected=None)
    store.total.clear()
    assert records.get(KEY) == made
    assert dict(store.total) == {"get": 2}
    store.total.clear()
    changed = records.put(KEY, b"two", expected=made.version)
    assert store.total["list"] == 0
    assert (store.total["put"], store.total["get"]) == (2, 2)  # one of them the first witness
    store.total.clear()
    records.put(KEY, b"three", expected=changed.version)
    assert dict(store.total) == {"put": 1, "get": 2, "delete": 1}


def test_nothing_follows_a_state_that_the_store_has_forgotten() -> None:
    """The bucket was put back to an earlier state: whoever remembers a later one makes nothing."""
    store = MemoryStore()
    records = StoreRecords(store, remember=True)
    made = records.put(KEY, b"one", expected=None)
    made = records.put(KEY, b"two", expected=made.version)
    backup = dict(store.objects)
    for value in (b"3", b"4"):
        made = records.put(KEY, value, expected=made.version)
    store.objects.clear()
    store.objects.update(backup)
    with pytest.raises(Conflict):
        records.put(KEY, b"5", expected=made.version)
    assert store.objects == backup


def test_a_glance_costs_a_read_or_two_and_finds_what_is_newer() -> None:
    store = Counting(MemoryStore(), time.monotonic)
    writer, watcher = StoreRecords(store, remember=True), StoreRecords(store, remember=True)
    made = writer.put(KEY, b"one", expected=None)
    seen = watcher.glance(KEY, None)
    assert seen == made.version
    store.total.clear()
    assert watcher.glance(KEY, seen) == seen
    assert dict(store.total) == {"get": 2}
    changed = writer.put(KEY, b"two", expected=made.version)
    store.total.clear()
    assert watcher.glance(KEY, seen) == changed.version
    assert dict(store.total) == {"get": 1}
    for value in (b"3", b"4", b"5"):
        changed = writer.put(KEY, value, expected=changed.version)
    assert watcher.glance(KEY, seen) == changed.version


def test_who_knows_that_he_is_alone_pays_no_read() -> None:
    store = Counting(MemoryStore(), time.monotonic)
    records = StoreRecords(store, remember=True)
    made = records.put(KEY, b"one", expected=None)
    made = records.put(KEY, b"two", expected=made.version)
    store.total.clear()
    made = records.put_alone(KEY, b"three", expected=made.version, alone=lambda: True)
    assert dict(store.total) == {"put": 1, "delete": 1}
    assert records.get(KEY) == made


def test_who_was_alone_when_he_asked_and_not_when_he_was_answered_finds_out() -> None:
    """Others replaced what he knew, twice: the place of the first change is free again."""
    store = MemoryStore()
    sleeper, others = StoreRecords(store), StoreRecords(store)
    old = sleeper.put(KEY, b"one", expected=None)
    new = old
    for value in (b"2", b"3", b"4"):
        new = others.put(KEY, value, expected=new.version)
    with pytest.raises(Conflict):
        sleeper.put_alone(KEY, b"late", expected=old.version, alone=lambda: False)
    assert others.get(KEY) == new


def test_a_lease_that_is_renewed_in_time_costs_a_put_and_one_too_late_is_looked_after() -> None:
    """Another node ends it, and another machine takes the name, while a renewal is on its way."""
    now = [0.0]
    store = Counting(MemoryStore(), lambda: now[0])
    records = [StoreRecords(store, remember=True) for _ in range(3)]
    mine, theirs = (
        Lease(one, "a", LeaseWatch(one, lambda: now[0]), clock=lambda: now[0], new_session=name)
        for one, name in zip(records[:2], (lambda: "s0", lambda: "s1"), strict=True)
    )
    mine.hold()
    mine.renew()
    store.total.clear()
    now[0] += 2
    mine.renew()
    assert dict(store.total) == {"put": 1, "delete": 1}

    def meanwhile(self: MemoryStore, key: str, body: bytes) -> None:
        patched.stop()
        seen = records[2].get("nodes/a")
        now[0] += 5
        end(records[2], "a", seen, by="b", ttl=6.0)
        theirs.hold()
        theirs.renew()
        self.put_if_absent(key, body)

    patched = patch.object(MemoryStore, "put_if_absent", meanwhile)
    patched.start()
    now[0] += 2
    with pytest.raises(Fenced):
        mine.renew()
    assert mine.remaining() < 0


def test_a_change_of_what_was_put_back_meanwhile_is_none() -> None:
    """The place of the change is free there, as is that of what it changed: it is taken back,
    and who reads again finds the earlier state, not his own."""
    store = MemoryStore()
    records = StoreRecords(store, remember=True)
    made = records.put(KEY, b"one", expected=None)
    backup = dict(store.objects)
    earlier = made
    for value in (b"two", b"three"):
        made = records.put(KEY, value, expected=made.version)

    def meanwhile(self: MemoryStore, key: str, body: bytes) -> None:
        patched.stop()
        store.objects.clear()
        store.objects.update(backup)
        self.put_if_absent(key, body)

    patched = patch.object(MemoryStore, "put_if_absent", meanwhile)
    patched.start()
    with pytest.raises(Unavailable):
        records.put(KEY, b"four", expected=made.version)
    assert store.objects == backup
    assert records.get(KEY) == earlier == StoreRecords(store).get(KEY)
