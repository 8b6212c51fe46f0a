"""Rows of the failure matrix (docs/s3-failures.md): several who act on one disk, and death between
two steps. Each is tried at every single request that is made, not at chosen ones."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from unittest.mock import patch

import pytest

from backends.disk.collection.deletion import delete_disk
from backends.disk.core import pins
from backends.disk.core.head import Head, Heads
from backends.disk.engine import Disk
from backends.disk.snapshots.cloning import clone_disk
from backends.errors import Damaged, Fenced, KedgeError, NotFound
from backends.stores.faulty import Crash, FaultyStore
from backends.stores.memory import MemoryStore
from tests.unit.disk.site import Node, Site, read, shipped
from tests.unit.disk.world import UUID, content, small_sizes

T = TypeVar("T")
CLONE = "0d1e2f30-0000-4000-8000-000000000009"


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_sizes():
        yield


class Stopping(FaultyStore):
    """At the n-th call something happens: a crash before or after the effect, or another node."""

    calls, at, after = 0, 0, False
    happens: Callable[[], None] = staticmethod(lambda: None)

    def _call(self, verb: str, key: str, effect: Callable[[], T]) -> T:
        self.calls += 1
        if self.calls != self.at:
            return super()._call(verb, key, effect)
        if self.after:
            with suppress(KedgeError):
                effect()
        self.happens()
        return super()._call(verb, key, effect)


def crash() -> None:
    raise Crash("here")


def stopping(site: Site, name: str) -> tuple[Node, Stopping]:
    node = site.node(name)
    way = Stopping(site.bucket, site._chance, node.way.faults)
    node.way = way
    return node, way


@dataclass
class Used:
    """A disk with a past: a snapshot, dead objects, half-dead ones, checkpoints old and new."""

    site: Site
    disk: Disk
    way: Stopping
    then: bytes
    """What the snapshot holds."""


def used() -> Used:
    site = Site()
    node, way = stopping(site, "one")
    disk = site.open(node, 1)
    for stamp in range(1, 7):
        site.write(disk, stamp, stamp, 8)
        shipped(disk)
    disk.pin(pins.snapshot("kept", "then", "call"))
    then = site.image
    for stamp in range(7, 14):
        site.write(disk, 2 * stamp, stamp, 5)
        shipped(disk)
        disk.checkpoint()
    site.write(disk, 1, 90, 4)
    shipped(disk)
    disk.parts.compactor._excess = 1.0
    return Used(site, disk, way, then)


def collection(of: Used) -> None:
    """Checkpoint, copying forward, deletion: all that is ever removed goes through these."""
    of.disk.compact()
    of.disk.tend(commits=1)
    of.disk.compact()
    of.disk.tend(commits=1)


def checkpoint(of: Used) -> None:
    of.disk.checkpoint()


def clone(of: Used) -> None:
    place = of.site.place(Node("maker", of.way))
    clone_disk(
        *(place.store, place.heads, UUID, "kept"),
        uuid=CLONE,
        size=len(of.then),
        new_id=place.new_id,
    )


def resize(of: Used) -> None:
    place = of.site.place(Node("maker", of.way))
    size = place.heads.read(UUID).size + 16 * 4096
    if size <= len(of.then) + 32 * 4096:
        place.heads.grow(UUID, size)
        of.disk.resize(size)


def snapshot(of: Used) -> None:
    of.disk.pin(pins.snapshot("more", "now", "call"))


ACTS = [pytest.param(collection, marks=pytest.mark.sim), checkpoint, clone, resize, snapshot]


def requests_of(act: Callable[[Used], None]) -> int:
    """How many there are to die at."""
    of = used()
    before = of.way.calls
    act(of)
    return of.way.calls - before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("act", ACTS)
def test_crash_in_the_middle_of_gc_checkpoint_clone_resize(
    act: Callable[[Used], None], after: bool
) -> None:
    """At each of its requests, before or after it has taken effect: the next owner finds every
    byte, the snapshot reads as it did, the same act made again succeeds, and in the end a sweep
    leaves nothing that a run without a crash would not have left."""
    count = requests_of(act)
    assert count >= 2
    for at in range(1, count + 1):
        of = used()
        of.way.at, of.way.after, of.way.happens = of.way.calls + at, after, crash
        with suppress(Crash):
            act(of)
        whole(of)
        disk = of.site.open(of.site.node("two"), 2)
        assert disk.read(0, len(of.site.image)) == of.site.image
        again = Used(of.site, disk, of.way, of.then)
        act(again)
        whole(again)
        if act is clone:
            assert of.site.dumped(uuid=CLONE) == of.then
        swept(again)


def whole(of: Used) -> None:
    assert of.site.dumped() == of.site.image
    assert of.site.dumped("kept") == of.then
    assert not [one for one in of.site.check() if one.level.value == "error"]


def swept(of: Used) -> None:
    """What the dead owner left and nobody needs is gone after a day; nothing else."""
    of.disk.checkpoint()
    of.site.now += 2 * 86400.0
    for _ in range(3):
        of.disk.tend(commits=1)
    journal, head = of.disk.parts.journal, of.site.heads.read(UUID)
    needed = {found.key for found in journal.map.objects.values()} | set(journal.regions.values())
    needed |= {journal.manifest, *(part.key for part in journal.litter)}
    for pin in head.pins.values():
        past = journal.manifest_of(pin.manifest)
        needed |= {pin.manifest, *past.regions.values(), *(o.key for o in past.objects.values())}
    there = {
        key.removeprefix(f"disks/{UUID}/")
        for kind in ("data", "ckpt")
        for key in of.site.keys(kind)
    }
    assert there <= needed, there - needed
    whole(of)


@pytest.mark.sim
def test_takeover_during_collection() -> None:
    """At each of a collector's requests another node takes the disk, writes, and collects, too. The
    first one ends fenced, or had nothing more to say, and has deleted nothing that is needed."""
    count, fenced = requests_of(collection), 0
    for at, after in itertools.product(range(1, count + 1), (False, True)):
        of = used()

        def take(of: Used = of) -> None:
            other = of.site.open(of.site.node("two"), 2)
            of.site.write(other, 3, 77, 9)
            shipped(other)
            other.parts.compactor._excess = 1.0
            collection(Used(of.site, other, of.way, of.then))

        of.way.at, of.way.after, of.way.happens = of.way.calls + at, after, take
        try:
            collection(of)
        except Fenced:
            fenced += 1
        whole(of)
        assert read(of.site.open(of.site.node("three"), 3)) == of.site.image
        assert not works(of.disk)
        whole(of)
    assert fenced


@pytest.mark.sim
def test_gc_against_snapshot_or_clone() -> None:
    """At each of the collector's requests a snapshot and a clone are made, or the first snapshot is
    dropped: what was said to be there can be read ever after, collected as much as may be."""
    count = requests_of(collection)
    for at, drop in itertools.product(range(1, count + 1), (False, True)):
        of = used()
        said: dict[str, bytes] = {}

        def pin(of: Used = of, said: dict[str, bytes] = said, drop: bool = drop) -> None:
            heads = of.site.heads
            head = heads.update(UUID, pins.snapshot("late", "now", "late"))
            said["late"] = of.site.dumped("late")
            place = of.site.place(of.site.node("maker"))
            clone_disk(
                *(place.store, place.heads, UUID, "kept"),
                uuid=CLONE,
                size=len(of.then),
                new_id=place.new_id,
            )
            if drop:
                heads.update(UUID, pins.without("kept"))
            assert head.pins["late"].seq == head.checkpoint_seq, "pinned is what the head leads to"

        of.way.at, of.way.happens = of.way.calls + at, pin
        collection(of)
        for _ in range(3):
            of.site.now += 1000.0
            of.site.write(of.disk, 0, int(of.site.now), 40)
            shipped(of.disk)
            collection(of)
        assert of.site.dumped("late") == said["late"]
        assert of.site.dumped(uuid=CLONE) == of.then
        if not drop:
            assert of.site.dumped("kept") == of.then
        assert of.site.dumped() == of.site.image


def test_gc_against_a_lazy_reader() -> None:
    """Who has looked up where a block is, and reads it after it was overwritten and collected, gets
    what is there now; who finds it gone and nothing in its place is told of damage, never zeros."""
    of = used()
    block = next(b for b in range(40) if of.site.written[b])
    real, disk = of.disk._look, of.disk
    looked = [0]

    def slow(first: int, count: int) -> list[object]:
        places = real(first, count)
        looked[0] += 1
        if looked[0] == 1:
            of.site.write(disk, 0, 99, 40)
            shipped(disk)
            of.site.heads.update(UUID, pins.without("kept"))
            disk.checkpoint()
            of.site.now += 1000.0
            collection(of)
            gone = places[0].holder.key  # type: ignore[union-attr]
            assert f"disks/{UUID}/{gone}" not in of.site.bucket.objects
        return list(places)

    disk._look = slow  # type: ignore[method-assign,assignment]
    assert disk.read(block * 4096, 4096) == content(99)
    assert looked[0] > 1
    for key in of.site.keys("data"):
        del of.site.bucket.objects[key]
    with pytest.raises(Damaged):
        disk.read(block * 4096, 4096)


def test_two_nodes_mount_at_once() -> None:
    """At each request of one that opens the disk, the other opens it, too, and writes: one of them
    has it in the end, the other is told who; what the one confirmed to be in the store stays."""
    first = Site()
    node, way = stopping(first, "one")
    first.open(node, 1)
    for at, claims in itertools.product(range(1, way.calls + 1), ((1, 1), (1, 2), (2, 1))):
        site = Site()
        node, way = stopping(site, "one")
        others: list[Disk] = []

        def open_too(
            site: Site = site, others: list[Disk] = others, claim: int = claims[1]
        ) -> None:
            with suppress(Fenced):
                others.append(site.open(site.node("two"), claim))
                site.write(others[0], 0, 5, 3)
                shipped(others[0])

        way.at, way.happens = at, open_too
        winners, refused = list[Disk](), ""
        try:
            winners.append(site.open(node, claims[0]))
        except Fenced as error:
            refused = error.message
        assert winners or "node two" in refused
        for disk in [*winners, *others]:
            with suppress(Fenced):
                site.write(disk, 8, 6)
                shipped(disk)
        able = [disk for disk in [*winners, *others] if works(disk)]
        assert len(able) == 1
        assert read(able[0])[: 3 * 4096] == site.dumped()[: 3 * 4096]
        assert site.dumped()[: 3 * 4096] in (
            content(5) * 3,
            bytes(3 * 4096) if not others else b"-",
        )


def works(disk: Disk) -> bool:
    """Whether it can still get something into the history."""
    try:
        disk.write(20 * 4096, content(1), 0)
        shipped(disk)
    except Fenced as error:
        if "node one" in error.message or "node two" in error.message:
            return False
        raise
    return True


@pytest.mark.sim
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_delete_while_mounted(after: bool) -> None:
    """With force, that is: the driver refuses it otherwise (the same name, with databases). Who has
    the disk is fenced, also if the deleter dies at any of its requests; deleting it again finishes,
    and what stays in the bucket is one fence and the head."""
    count = 0
    while True:
        count += 1
        of = used()
        of.disk.checkpoint()  # its log may now be collected to the last record
        of.site.heads.update(UUID, pins.without("kept"))
        place = of.site.place(
            Node("deleter", Stopping(of.site.bucket, of.site._chance, of.way.faults))
        )
        way = place.store._inner  # type: ignore[attr-defined]
        way.at, way.after, way.happens = count, after, crash
        died = False
        try:
            delete_disk(place.store, place.heads, UUID, new_id=place.new_id)
        except Crash:
            died = True
        way.at = 0
        of.site.write(of.disk, 0, 3)
        if of.site.heads.read(UUID).state.value == "deleted":
            with suppress(Fenced, Damaged, NotFound):
                of.disk.tend(commits=1)
        delete_disk(place.store, place.heads, UUID, new_id=place.new_id)
        with pytest.raises((Fenced, Damaged)):
            shipped(of.disk)
        with pytest.raises(KedgeError):
            of.disk.flush()
        with pytest.raises(NotFound):
            of.site.open(of.site.node("two"), 2)
        left = [key for key in of.site.bucket.objects if key.startswith(f"disks/{UUID}/")]
        assert len(left) == 1
        assert "/log/" in left[0]
        if not died:
            return


def test_a_store_is_what_these_tests_say(  # the counting above must see every request
) -> None:
    way = Stopping(MemoryStore(), Site()._chance, Site().node("x").way.faults)
    for act in (
        lambda: way.put("a", b""),
        lambda: way.get("a"),
        lambda: way.get_range("a", 0, 1),
        lambda: way.list(""),
        lambda: way.put_if_absent("b", b""),
        lambda: way.head("a"),
        lambda: way.delete("a"),
    ):
        act()
    assert way.calls == 7


def test_a_checkpoint_while_a_read_asks_for_the_head_is_no_damage() -> None:
    """The head that comes is that of before the checkpoint: nobody has put it back."""
    site = Site()
    disk = site.open(site.node("one"), 1, trust=3.0)
    site.write(disk, 0, 1, 4)
    shipped(disk)
    real, meanwhile = Heads._read, [disk.checkpoint]

    def on_its_way(heads: Heads, uuid: str) -> tuple[Head, str]:
        found = real(heads, uuid)
        if meanwhile:
            meanwhile.pop()()
        return found

    site.now += 10.0
    with patch.object(Heads, "_read", on_its_way):
        assert read(disk) == site.image
    assert not meanwhile
    disk.flush()
