"""Snapshots, going back, clones: one at a time, and what must not happen between two steps."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from backends.disk.collection.deletion import delete_disk
from backends.disk.core import pins
from backends.disk.core.head import Head, Pin
from backends.disk.core.liveness import Pinned
from backends.disk.core.naming import checkpoint_name, epoch_of, foreign, located, made_at, maker
from backends.disk.engine import Disk
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.snapshots import restoring
from backends.disk.snapshots.cloning import clone_disk
from backends.disk.writing.checkpointing import Checkpointer
from backends.errors import Damaged, Exists, Fenced, InUse, Invalid, NotFound
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_reopening import place
from tests.unit.disk.world import UUID, small_sizes

CLONE = "0d1e2f30-0000-4000-8000-000000000009"
SECOND = "0d1e2f30-0000-4000-8000-00000000000a"
_claims = itertools.count(1)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_sizes():
        yield


def opened(where: Place, uuid: str = UUID) -> Disk:
    terms = Terms(segment=56 * 1024, segments=8, grace=0.0)
    return open_disk(where, uuid, claim=next(_claims), terms=terms)


def closed(where: Place, disk: Disk) -> None:
    disk.close()
    where.heads.let_go(disk.parts.journal.uuid, disk.parts.journal.owner)


def written(where: Place, byte: int, uuid: str = UUID) -> None:
    """The first 20 blocks are full of `byte`."""
    disk = opened(where, uuid)
    disk.write(0, bytes([byte]) * 4096 * 20, 0)
    closed(where, disk)


def first(where: Place, uuid: str = UUID) -> int:
    """What the first block is full of."""
    disk = opened(where, uuid)
    body = disk.read(0, 4096)
    assert body == body[:1] * 4096
    closed(where, disk)
    return body[0]


def pinned(where: Place, name: str) -> Head:
    return where.heads.update(UUID, pins.snapshot_at_rest(name, "2026-02-03T04:05:06Z", name))


def go_back(where: Place, name: str) -> Head:
    return restoring.restore_disk(
        *(where.store, where.heads, UUID, name),
        claim=next(_claims),
        node=where.node,
        new_id=where.new_id,
        wait=where.wait,
    )


def elsewhere(where: Place) -> Place:
    return replace(where, files=MemoryFiles(), orphan=lambda binding: MemoryFiles())


def cloned(where: Place, source: str = "", base: str = UUID, uuid: str = CLONE) -> Place:
    clone_disk(
        *(where.store, where.heads, base, source),
        uuid=uuid,
        size=40 * 4096,
        new_id=where.new_id,
    )
    return elsewhere(where)


def test_going_back_and_forth() -> None:
    where = place()
    written(where, 1)
    pinned(where, "one")
    written(where, 2)
    pinned(where, "two")
    written(where, 3)
    for name, byte in (("one", 1), ("two", 2), ("one", 1)):
        go_back(where, name)
        assert first(where) == byte


def test_a_snapshot_of_an_open_disk_has_what_was_written_before() -> None:
    where = place()
    disk = opened(where)
    disk.write(0, bytes([1]) * 4096, 0)
    disk.pin(pins.snapshot("one", "", "call"))
    disk.pin(pins.snapshot("one", "", "call"))
    with pytest.raises(Exists):
        disk.pin(pins.snapshot("one", "", "other call"))
    disk.write(0, bytes([2]) * 4096, 0)
    with pytest.raises(InUse):
        pinned(where, "two")
    closed(where, disk)
    go_back(where, "one")
    assert first(where) == 1


def test_what_is_much_is_sent_before_somebody_waits_for_a_snapshot() -> None:
    disk = opened(place())
    disk.write(0, bytes(4096), 0)
    disk.settle()
    assert disk.parts.overlay
    assert not disk.parts.journal.manifest
    disk.write(0, bytes(4096) * 20, 0)
    disk.settle()
    assert not disk.parts.overlay
    assert disk.parts.journal.manifest


def test_what_was_never_written_has_no_snapshot() -> None:
    with pytest.raises(Invalid):
        pinned(place(), "one")
    with pytest.raises(NotFound):
        go_back(place(), "one")


def test_a_head_stays_small() -> None:
    where = place()
    written(where, 1)
    for number in range(pins.MOST):
        pinned(where, f"{number:064}")
    with pytest.raises(Invalid):
        pinned(where, "more")
    assert len(where.heads.read(UUID).encode()) < 60_000


def test_a_local_log_does_not_follow_the_past() -> None:
    """Nor when the same node goes back that has writes which were never shipped."""
    where = place()
    written(where, 1)
    pinned(where, "one")
    killed = opened(where)
    killed.write(0, bytes([9]) * 4096, 0)
    go_back(where, "one")
    where = replace(where, orphan=lambda binding: MemoryFiles())
    assert first(where) == 1
    with pytest.raises(Fenced):
        killed.ship()


@pytest.mark.parametrize(("fenced", "said"), [(True, Fenced), (False, Damaged)])
def test_what_a_fenced_owner_misses_is_no_damage(fenced: bool, said: type[Exception]) -> None:
    """Whoever has the disk since may have collected it; who holds the disk does report it."""
    where = place()
    disk = opened(where)
    disk.write(0, bytes([1]) * 4096 * 20, 0)
    disk.ship()
    if fenced:
        where.heads.take(UUID, claim=next(_claims), session=bytes(16), node="other")
    for found in where.store.list(f"disks/{UUID}/"):
        where.store.delete(found.key)
    with pytest.raises(said):
        disk.read(0, 4096 * 20)


def test_going_back_to_a_snapshot_that_goes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look whether it is there is one step with the change: before it, all may change."""
    where = place()
    written(where, 1)
    pinned(where, "one")
    written(where, 2)
    real = Checkpointer.write

    def write(self: Checkpointer, also: Callable[[Head], Head]) -> Head:
        where.heads.update(UUID, pins.without("one"))
        return real(self, also)

    monkeypatch.setattr(Checkpointer, "write", write)
    with pytest.raises(NotFound):
        go_back(where, "one")
    monkeypatch.undo()
    assert first(where) == 2


def test_a_clone_goes_its_own_way() -> None:
    where = place()
    written(where, 1)
    there = cloned(where)
    written(where, 2)
    assert first(there, CLONE) == 1
    written(there, 3, CLONE)
    assert (first(where), first(there, CLONE)) == (2, 3)


def test_a_clone_outlives_its_base_and_then_nothing_is_left() -> None:
    where = place()
    written(where, 1)
    pinned(where, "one")
    written(where, 2)
    there = cloned(where, "one")
    delete_disk(where.store, where.heads, UUID, new_id=where.new_id)
    assert first(there, CLONE) == 1
    delete_disk(where.store, where.heads, CLONE, new_id=where.new_id)
    left = [item.key for item in where.store.list("disks/")]
    assert len(left) == 2
    assert all("/log/" in key for key in left)


@pytest.mark.parametrize("order", list(itertools.permutations((UUID, CLONE, SECOND))))
@pytest.mark.parametrize("between", [True, False])
def test_a_clone_of_a_clone_outlives_both(order: tuple[str, ...], between: bool) -> None:
    """`between`: the first clone has something of its own. Whichever of the three goes, the others
    have what they had; when all have gone, nothing is left."""
    where = place()
    written(where, 1)
    there = cloned(where)
    has = {UUID: 1, CLONE: 1, SECOND: 1}
    if between:
        disk = opened(there, CLONE)
        disk.write(0, bytes([2]) * 4096, 0)
        closed(there, disk)
        has |= {CLONE: 2, SECOND: 2}
    places = {UUID: where, CLONE: there, SECOND: cloned(there, "", CLONE, SECOND)}
    for gone in order:
        assert {uuid: first(places[uuid], uuid) for uuid in has} == has
        delete_disk(where.store, where.heads, gone, new_id=where.new_id)
        del has[gone]
    left = [item.key for item in where.store.list("disks/")]
    assert [key for key in left if "/log/" not in key] == []


def test_a_clone_that_has_written_everything_anew_leaves_its_base() -> None:
    where = place()
    written(where, 1)
    there = cloned(where)
    disk = opened(there, CLONE)
    disk.discard(0, 40 * 4096)
    for _ in range(4):
        disk.write(0, bytes([2]) * 4096 * 20, 0)
        disk.ship()
        disk.tend(commits=1)
    closed(there, disk)
    assert where.heads.read(UUID).pins == {}
    assert where.heads.read(CLONE).base == ""
    assert first(there, CLONE) == 2


def test_collection_goes_on_beside_snapshots() -> None:
    """A disk with an old snapshot that is overwritten for long keeps two images, no more."""
    where = place()
    written(where, 1)
    pinned(where, "one")
    disk = opened(where)
    sizes = []
    for byte in range(2, 40):
        disk.write(0, bytes([byte]) * 4096 * 20, 0)
        disk.ship()
        disk.tend(commits=2)
        sizes.append(sum(item.size for item in where.store.list("disks/")))
    assert max(sizes[-10:]) < 6 * 20 * 4096
    closed(where, disk)
    go_back(where, "one")
    assert first(where) == 1


def test_a_pin_needs_what_lived_at_its_record() -> None:
    head = Head("x", 4096, pins={"a": Pin(7, "m", 4096), "b": Pin(20, "n", 4096)})
    pinned = Pinned.of(head)
    assert [pinned.need(born, died) for born, died in ((7, 8), (1, 8), (8, 20), (8, 21))] == [
        *(True, True, False, True)
    ]
    assert not pinned.need(1, 7)
    assert not pinned.need(21, 99)
    assert (pinned.last, Pinned.of(Head("x", 1)).last) == (20, -1)


def test_names() -> None:
    name = f"{checkpoint_name(7, 5 << 20, bytes(16))}/manifest"
    assert (made_at(name), epoch_of(name)) == (7, 5 << 20)
    full = located("disks/a/", name)
    assert (foreign(full), made_at(full), maker("b", full), maker("b", name)) == (True, 0, "a", "b")
    assert located("disks/c/", full) == full
    assert epoch_of(f"data/{3:016x}-{'0' * 32}-0001") == 3
    assert epoch_of("log/0000000000000001") is None
