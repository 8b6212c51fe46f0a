"""A disk whose server is killed over and over has room for what comes next."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest

from backends.disk import journal
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.opening import Place, Terms, open_disk
from backends.errors import Damaged
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.memory_place import memory_place
from tests.unit.disk.world import UUID, small_sizes

SEGMENTS = 4


def place() -> Place:
    """One node, whose machine stays up."""
    store, ids = MemoryStore(), itertools.count(1)
    made = memory_place(store, "node", lambda: next(ids).to_bytes(16, "big"))
    made.heads.create(UUID, 40 * 4096)
    return replace(made, orphan=lambda binding: made.files)


def reopened(where: Place) -> Disk:
    """As a successor opens it: what was open before is not closed, it was killed."""
    terms = Terms(segment=56 * 1024, segments=SEGMENTS)
    return open_disk(where, UUID, claim=1, terms=terms)


@pytest.mark.parametrize("shipped", ["by the killed one", "by its successor"])
def test_there_is_room_after_any_number_of_kills(shipped: str) -> None:
    """Each one goes on in a new segment of the local log. Those whose entries are all in the
    store must be free again, or a write waits for a shipment of which there is none."""
    where = place()
    with small_sizes():
        for count in range(3 * SEGMENTS):
            disk = reopened(where)
            if shipped == "by its successor":
                disk.ship()
            assert disk.parts.log.room(4096), f"after {count} kills"
            disk.write(0, bytes([count + 1]) * 4096, 2 * count + 2)
            if shipped == "by the killed one":
                assert disk.ship()
        assert reopened(where).read(0, 4096) == bytes([3 * SEGMENTS]) * 4096


def sent(disk: Disk) -> None:
    """Its server is killed when everything is in the store."""
    disk.flush()
    assert disk.ship()


@pytest.mark.parametrize("end", [Disk.close, Disk.flush, sent], ids=["closed", "killed", "sent"])
def test_only_what_was_not_sent_is_an_orphan(end: Callable[[Disk], None]) -> None:
    """A disk that was closed here and written elsewhere since left nothing behind; one whose server
    was killed with something unsent did."""
    aside: list[object] = []
    there = place()

    def orphan(binding: object) -> MemoryFiles:
        aside.append(binding)
        return MemoryFiles()

    here = replace(there, files=MemoryFiles(), orphan=orphan, node="here")
    terms = Terms(segment=56 * 1024, segments=SEGMENTS)
    with small_sizes():
        disk = open_disk(here, UUID, claim=1, terms=terms)
        disk.write(0, b"1" * 4096, 2)
        end(disk)
        other = open_disk(there, UUID, claim=2, terms=terms)
        other.write(4096, b"2" * 4096, 2)
        other.close()
        again = open_disk(here, UUID, claim=3, terms=terms)
        expected = bytes(1) if end is Disk.flush else b"1"
        assert again.read(0, 8192) == expected * 4096 + b"2" * 4096
    assert len(aside) == (1 if end is Disk.flush else 0)


def test_what_was_sent_and_what_was_written_behind_it_are_told_apart() -> None:
    where = place()
    with small_sizes():
        disk = reopened(where)
        for count in range(30):
            disk.write(0, bytes([count]) * 4096, 2 * count + 2)
            disk.flush()
            disk.ship()
            assert not disk.parts.log.holds_unsent()
        disk.write(0, b"x" * 4096, 1000)
        assert disk.parts.log.holds_unsent()
        assert not disk.parts.log.holds_unsent(upto=31)


class Counted(MemoryStore):
    """Counts the bytes that are read of records."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def get(self, key: str) -> bytes:
        body = super().get(key)
        self.read += len(body) if "/log/" in key else 0
        return body

    def get_range(self, key: str, start: int, length: int) -> bytes:
        before = self.read
        body = super().get_range(key, start, length)  # which may be a part of `get`
        self.read = before + (len(body) if "/log/" in key else 0)
        return body


def test_who_replays_records_does_not_read_what_they_hold() -> None:
    """... and reads all of a record that says more than it asked for at first."""
    store = Counted()
    where = replace(place(), store=store, heads=Heads(StoreRecords(store)))
    where.heads.create(UUID, 40 * 4096)
    disk = reopened(where)
    for count in range(8):
        disk.write(0, bytes([count + 1]) * 8 * 4096, 2 * count + 2)
        disk.ship()
    for beginning, least, most in ((512, 8 * 200, 8 * 512 + 4096), (200, 8 * 8 * 4096, 1 << 20)):
        with patch.object(journal, "BEGINNING", beginning):
            store.read = 0
            again = reopened(where)
            assert least < store.read < most
            assert again.read(7 * 4096, 4096) == bytes([8]) * 4096


@pytest.mark.parametrize("spoiled", [b"", b"\xff" * 16, bytes(16)], ids=["short", "ones", "zeros"])
def test_a_spoiled_word_about_what_was_sent_is_no_word(spoiled: bytes) -> None:
    where = place()
    with small_sizes():
        disk = reopened(where)
        disk.write(0, b"1" * 4096, 2)
        sent(disk)
        assert isinstance(where.files, MemoryFiles)
        where.files.put("sent", spoiled)
        assert disk.parts.log.holds_unsent()


def test_a_closed_disk_takes_no_room_on_the_node() -> None:
    where = place()
    with small_sizes():
        disk = reopened(where)
        disk.write(0, b"1" * 4096, 2)
        disk.close()
        assert [name for name in where.files.names() if name.startswith("segment")] == []
        assert reopened(where).read(0, 4096) == b"1" * 4096


@pytest.mark.parametrize("end", [Disk.close, Disk.flush], ids=["closed", "killed"])
def test_a_bucket_that_was_put_back_is_not_written_by_who_knows_better(
    end: Callable[[Disk], None],
) -> None:
    where = place()
    assert isinstance(where.store, MemoryStore)
    with small_sizes():
        open_disk(where, UUID, claim=1, terms=Terms(segment=56 * 1024, segments=SEGMENTS)).close()
        before = dict(where.store.objects)
        disk = open_disk(where, UUID, claim=2, terms=Terms(segment=56 * 1024, segments=SEGMENTS))
        disk.write(0, b"1" * 4096, 2)
        end(disk)
        where.store.objects.clear()
        where.store.objects.update(before)
        again = replace(where, heads=Heads(StoreRecords(where.store)))
        with pytest.raises(Damaged, match="put back to an earlier state"):
            open_disk(again, UUID, claim=1, terms=Terms(segment=56 * 1024, segments=SEGMENTS))
        assert where.store.objects == before
        elsewhere = replace(again, files=MemoryFiles(), node="elsewhere")
        assert reopened(elsewhere).read(0, 4096) == bytes(4096)
