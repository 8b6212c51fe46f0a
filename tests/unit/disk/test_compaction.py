"""Copying forward and sweeping, one at a time; each of their rules broken, and what sees it."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from backends.disk import engine
from backends.disk.collection import deletion
from backends.disk.collection.collecting import Collector
from backends.disk.collection.compaction import Copy
from backends.disk.collection.sweeping import Sweeper
from backends.disk.core import pins
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.coding import Coder, Compression
from backends.disk.core.head import Head, Pin
from backends.disk.core.liveness import Pinned, Weight, emptiest, smallest
from backends.disk.engine import Disk
from backends.disk.inspection.dump import dump
from backends.disk.journal import Journal
from backends.disk.opening import Place, Terms, open_disk
from backends.errors import KedgeError
from backends.stores.memory import MemoryStore
from tests.unit.disk import test_snapshots
from tests.unit.disk.test_reopening import place
from tests.unit.disk.test_snapshots import CLONE, cloned, elsewhere, first, opened, pinned, written
from tests.unit.disk.world import UUID, small_sizes


@pytest.fixture(autouse=True)
def _small() -> Any:
    with small_sizes():
        yield


def store_of(where: Place) -> MemoryStore:
    assert isinstance(where.store, MemoryStore)
    return where.store


def churned(where: Place, rounds: int = 60) -> tuple[Disk, list[int]]:
    """A disk after many small writes all over it, and what its blocks are full of."""
    chance, blocks = random.Random(4), [0] * 40
    disk = opened(where)
    for byte in range(1, rounds):
        for _ in range(5):
            block = chance.randrange(40)
            blocks[block] = byte
            disk.write(block * 4096, bytes([byte]) * 4096, 0)
        disk.ship()
        disk.tend(commits=2)
    return disk, blocks


def test_a_store_that_refuses_requests_is_not_asked_to_copy() -> None:
    now = [0.0]
    where = replace(place(), clock=lambda: now[0], strained=lambda: True)
    disk, _ = churned(where)
    copied = disk.parts.compactor
    assert not disk.compact()
    assert copied.copied == 0
    now[0] += engine.PUT_OFF
    assert disk.compact(), "not for ever"
    before = copied.copied
    assert not disk.compact()
    assert copied.copied == before > 0


def reads(disk: Disk) -> list[int]:
    body = disk.read(0, 40 * 4096)
    return [body[at] for at in range(0, len(body), 4096)]


def stored(where: Place) -> int:
    return sum(item.size for item in where.store.list(f"disks/{UUID}/data/"))


def test_copying_forward_frees_space_and_changes_nothing() -> None:
    where = place()
    disk, blocks = churned(where)
    disk.parts.compactor._excess = 1.2
    before = stored(where)
    while disk.compact():
        disk.checkpoint()
        disk.tend(commits=1)
    assert reads(disk) == blocks
    assert disk.parts.compactor.copied
    assert stored(where) <= before
    assert first(where) == blocks[0]


def test_what_is_written_while_it_is_copied_stays() -> None:
    where = place()
    disk, blocks = churned(where)
    disk.parts.compactor._excess = 1.0
    compactor = disk.parts.compactor
    chosen = compactor.choose(disk.parts.collector.pinned)
    copy = compactor.prepare(chosen)
    assert copy is not None
    moving = sorted(copy._places)
    for block in moving[::2]:
        disk.write(block * 4096, bytes([200]) * 4096, 0)
        blocks[block] = 200
    disk.ship()
    assert compactor.commit(copy) or len(moving) == 1
    assert reads(disk) == blocks
    disk.close()
    where.heads.let_go(UUID, disk.parts.journal.owner)
    assert reads(opened(where)) == blocks


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_copy_whose_end_was_overwritten_meanwhile_is_readable(
    compression: Compression, gone: int
) -> None:
    """Blocks that travel in the record are coded together, and the record says how many there are:
    what has changed meanwhile must not be among them."""
    where = replace(place(), coder=Coder(compression))
    disk = opened(where)
    disk.write(0, b"".join(bytes([stamp]) * 4096 for stamp in (1, 2, 3)), 0)
    disk.ship()
    before = disk.read(0, 40 * 4096)
    prepared = disk.parts.compactor.prepare(list(disk.parts.journal.map.objects))
    assert prepared is not None
    assert sorted(prepared._places) == [0, 1, 2]
    assert not prepared._objects
    for block in range(3 - gone, 3):
        disk.write(block * 4096, bytes([9]) * 4096, 0)
        before = before[: block * 4096] + bytes([9]) * 4096 + before[(block + 1) * 4096 :]
    disk.ship()
    assert disk.parts.compactor.commit(prepared) is (gone < 3)
    assert disk.read(0, 40 * 4096) == before
    other = replace(elsewhere(where), node="other")
    assert opened(other).read(0, 40 * 4096) == before
    dumped = dict(dump(list(store_of(where).objects), store_of(where).get, UUID))
    assert b"".join(dumped.get(n, bytes(4096)) for n in range(40)) == before


def test_what_a_snapshot_needs_is_not_copied() -> None:
    where = place()
    disk, _ = churned(where)
    disk.pin(pins.snapshot("one", "", "call"))
    disk.parts.compactor._excess = 1.0
    assert not disk.compact()


def test_a_damaged_object_is_left_where_it_is() -> None:
    """And the disk goes on."""
    where = place()
    disk, _ = churned(where)
    disk.parts.compactor._excess = 1.0
    (number, *_) = disk.parts.compactor.choose(disk.parts.collector.pinned)
    key = f"disks/{UUID}/{disk.parts.journal.map.objects[number].key}"
    store_of(where).objects[key] = bytes(len(store_of(where).objects[key]))
    assert not disk.compact()
    assert disk.parts.compactor.trouble
    disk.write(0, bytes([7]) * 4096, 0)
    assert disk.ship()
    assert key in store_of(where).objects


def test_the_emptiest_are_chosen_and_only_when_it_is_worth_it() -> None:
    weights = [Weight(1, 90, 100, 5), Weight(2, 10, 100, 6), Weight(3, 50, 100, 7)]
    assert [w.number for w in emptiest(weights, excess=1.5, room=70)] == [2, 3]
    assert [w.number for w in emptiest(weights, excess=1.5, room=20)] == [2]
    assert emptiest(weights, excess=2.0, room=70) == []
    assert emptiest([Weight(1, 100, 100, 5)], excess=0.5, room=70) == []
    assert [w.number for w in smallest(weights, many=2, small=100, room=100)] == [1, 2]
    assert smallest(weights, many=3, small=100, room=100) == []


def swept(where: Place, age: float, now: list[float]) -> set[str]:
    """Two strays, of an earlier owner and of this one; which of them are gone after a sweep."""
    disk = opened(where)
    names = {
        "earlier": f"data/{1:016x}-{'0' * 32}-00000001",
        "own": f"data/{disk.parts.journal.owner.epoch:016x}-{'0' * 32}-00000001",
    }
    for name in names.values():
        where.store.put(f"disks/{UUID}/{name}", b"stray")
    now[0] += 100.0
    Sweeper(disk.parts.journal, where.store, age=age).sweep(disk.parts.collector.pinned)
    there = store_of(where).objects
    assert reads(disk)[0] == 1
    return {what for what, name in names.items() if f"disks/{UUID}/{name}" not in there}


@pytest.mark.parametrize(("age", "gone"), [(50.0, {"earlier"}), (500.0, set())])
def test_strays_of_earlier_owners_are_swept_when_the_store_calls_them_old(
    age: float, gone: set[str]
) -> None:
    now = [0.0]
    where = replace(place(), store=MemoryStore(lambda: now[0]))
    where = replace(where, heads=type(where.heads)(_records(where)))
    where.heads.create(UUID, 40 * 4096)
    written(where, 1)
    assert swept(where, age, now) == gone


def test_what_only_a_snapshot_names_is_no_stray() -> None:
    """A service that made a snapshot was killed before it was answered, and the change of the head
    took effect after its successor had read it: that one's map knows nothing of the checkpoint."""
    where = place()
    disk = opened(where)
    disk.write(0, bytes([1]) * 4096 * 20, 0)
    disk.ship()
    manifest, key = disk.parts.checkpointer._store_parts(disk.parts.checkpointer._copy())
    successor = opened(where)
    late = Pin(manifest.tail.seq, key, 40 * 4096)
    where.heads.update(UUID, lambda head: replace(head, pins={**head.pins, "late": late}))
    successor.write(0, bytes([2]) * 4096 * 20, 0)
    successor.ship()
    successor.checkpoint()
    Sweeper(successor.parts.journal, where.store, age=0.0).sweep(Pinned.of(head(where)))
    store = store_of(where)
    blocks = dict(dump(list(store.objects), store.get, UUID, "late"))
    assert blocks == dict.fromkeys(range(20), bytes([1]) * 4096)


def test_nothing_is_swept_while_a_snapshot_cannot_be_read() -> None:
    where = place()
    written(where, 1)
    pinned(where, "one")
    disk = opened(where)
    stray = f"disks/{UUID}/data/{1:016x}-{bytes(16).hex()}-{1:08x}"
    store_of(where).objects[stray] = b"x"
    disk.checkpoint()
    sweeper, pins_now = Sweeper(disk.parts.journal, where.store, age=0.0), Pinned.of(head(where))
    (key,) = pins_now.manifests
    body = store_of(where).objects.pop(f"disks/{UUID}/{key}")
    assert sweeper.sweep(pins_now) == 0
    assert stray in store_of(where).objects
    store_of(where).objects[f"disks/{UUID}/{key}"] = body
    assert sweeper.sweep(pins_now) == 1
    assert stray not in store_of(where).objects


def head(where: Place) -> Head:
    return where.heads.read(UUID)


def _records(where: Place) -> Any:
    from backends.records.store import StoreRecords

    return StoreRecords(where.store)


def copies_overwrite_what_is_newer() -> Any:
    """A block that was shipped anew while it was copied becomes old again."""
    return patch.object(Copy, "_unchanged", lambda self, journal, block: True)


def copies_name_wrong_places() -> Any:
    """Blocks that are left out of a copy shift those behind them."""
    real = Copy.content

    def content(self: Copy, journal: Journal) -> Any:
        made, moved = real(self, journal)
        extents, taken = [], 0
        for extent in made.extents:
            extents.append(replace(extent, first=taken))
            taken += extent.count
        return replace(made, extents=tuple(extents)), moved

    return patch.object(Copy, "content", content)


def old_local_logs_follow_the_past() -> Any:
    """What was not shipped before going back is replayed on top of it."""
    real = Journal.become

    def become(self: Journal, past: Manifest) -> None:
        holders = self.tail.holders
        real(self, past)
        self.tail = replace(self.tail, holders=holders)

    return patch.object(Journal, "become", become)


def sweepers_read_no_pinned_checkpoint() -> Any:
    """Only the table of contents of a snapshot is known to be needed."""
    return patch.object(Sweeper, "_named", lambda self, pinned: set())


def bases_are_left_too_early() -> Any:
    """A clone lets go of its base although it still uses it."""

    def leave(self: Collector) -> None:
        journal = self._journal
        if journal.base:
            owned = self._heads.read(journal.uuid)
            deletion.leave_base(self._store, self._heads, owned, new_id=self._new_id)

    return patch.object(Collector, "_leave_base", leave)


def a_clone_that_is_used_keeps_its_base() -> None:
    where = place()
    written(where, 1)
    there = cloned(where)
    deletion.delete_disk(where.store, where.heads, UUID, new_id=where.new_id)
    disk = open_disk(there, CLONE, claim=99, terms=Terms(segment=56 * 1024, grace=0.0))
    for _ in range(4):
        disk.write(0, bytes([2]) * 4096 * 8, 0)
        disk.ship()
        disk.tend(commits=1)
    assert reads(disk)[:20] == [2] * 8 + [1] * 12


def test_a_clone_that_is_used_keeps_its_base() -> None:
    a_clone_that_is_used_keeps_its_base()


@pytest.mark.parametrize(
    ("mutant", "seen_by"),
    [
        (copies_overwrite_what_is_newer, test_what_is_written_while_it_is_copied_stays),
        (copies_name_wrong_places, test_what_is_written_while_it_is_copied_stays),
        (sweepers_read_no_pinned_checkpoint, test_what_only_a_snapshot_names_is_no_stray),
        (
            old_local_logs_follow_the_past,
            test_snapshots.test_a_local_log_does_not_follow_the_past,
        ),
        (bases_are_left_too_early, a_clone_that_is_used_keeps_its_base),
    ],
)
def test_every_broken_rule_is_seen(mutant: Callable[[], Any], seen_by: Callable[[], None]) -> None:
    with mutant(), pytest.raises((AssertionError, KedgeError)):
        seen_by()
