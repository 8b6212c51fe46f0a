"""Rows of the failure matrix (docs/s3-failures.md): the store, and the way to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.disk.core.head import Heads
from backends.disk.engine import Durability
from backends.disk.reading.cache import Cache
from backends.errors import Fenced, Unavailable
from backends.records.store import StoreRecords
from backends.stores.faulty import Faults
from tests.unit.disk.site import AWAY, SEGMENTS, Site, read, shipped
from tests.unit.disk.world import content, small_sizes

HOUR = 3600.0


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes():
        yield Site()


def test_s3_down_for_one_hour(site: Site, tmp_path: Path) -> None:
    """A write each second: they go on until the log is full and wait then, without an error.
    Cached blocks are read meanwhile, others when the store is back. Nobody takes over, for that
    would need the store, too. Afterwards all is sent, in order, and another node finds it."""
    one, two = site.node("one"), site.node("two")
    one.cache, two.patience = (lambda: Cache(tmp_path / "cache", 1 << 20)), 3
    disk = site.open(one, 1, batch=8)
    site.write(disk, 0, 1, 12)
    site.write(disk, 20, 2, 8)
    shipped(disk)
    assert disk.read(0, 12 * 4096) == content(1) * 12
    cold = next(found for found in disk.parts.journal.map.find(20, 1) if found)
    disk.parts.cache.drop(cold.holder.key, range(4))
    writes, waits, tried, uncached = [0], [0], [0], list[bytes]()

    def others() -> None:
        if disk.parts.log.room(4096):
            writes[0] += 1
            site.write(disk, writes[0] % 12, 10 + writes[0])
            disk.flush()
            assert disk.read(0, 4096) == content(site.written[0])
        else:
            waits[0] += 1
        if site.now > 0.5 * HOUR and not tried[0]:
            tried[0] = 1
            two.way.faults = AWAY
            with pytest.raises(Unavailable):
                site.open(two, 2)
            two.way.faults = Faults()
        if site.now > 0.7 * HOUR and not uncached:
            uncached.append(bytes(disk.read(20 * 4096, 8 * 4096)))

    one.way.faults, site.meanwhile, asked = AWAY, others, len(site.asked)
    site.back = [(HOUR, one)]
    site.write(disk, 0, 9)
    assert disk.ship(), "it waited for the hour, and then it went on"
    assert site.now >= HOUR
    assert tried == [1]
    assert uncached == [content(2) * 8]
    assert 40 < writes[0] < SEGMENTS * 14
    assert waits[0] > 100
    assert len(site.asked) - asked < 3 * HOUR, "the store is not asked more often than each second"
    before = len(site.keys("log"))
    shipped(disk)
    assert len(site.keys("log")) - before > 3, "one record after the other, not all in one"
    assert site.dumped() == site.image == read(site.open(two, 2))


def test_s3_throttling(site: Site) -> None:
    """Nine of ten requests are refused. Pauses grow, and nothing is given up but collection, which
    has time; what was written arrives."""
    one = site.node("one")
    disk = site.open(one, 1, batch=4)
    one.way.faults = Faults(lost_request=0.9)
    for stamp in range(1, 61):
        while not disk.parts.log.room(4096):
            disk.ship()
        site.write(disk, stamp % 12, stamp)
        if stamp % 5 == 0:
            disk.flush()
            disk.ship()
        if stamp % 20 == 0:
            disk.checkpoint()
    shipped(disk)
    assert read(disk) == site.image == site.dumped()
    pace = [
        later[0] - earlier[0] for earlier, later in zip(site.asked, site.asked[1:], strict=False)
    ]
    assert len(site.asked) > 300
    assert site.now / len(site.asked) > 0.2, "refused requests are repeated at once"
    assert max(pace) >= 1.0
    disk.checkpoint()
    one.way.faults, before = AWAY, disk.parts.collector.waiting
    assert before > 0
    deletions = len([verb for _, verb, _ in site.asked if verb == "delete"])
    assert disk.parts.collector.collect() == 0
    refused = [verb for _, verb, _ in site.asked if verb == "delete"][deletions:]
    assert len(refused) <= 4, "collection insists, where it could wait"
    assert disk.parts.collector.waiting == before
    one.way.faults = Faults()
    while disk.parts.collector.collect():
        pass
    assert read(site.open(site.node("two"), 2)) == site.image


@pytest.mark.parametrize("durability", Durability)
def test_partition_container_still_writing(site: Site, durability: Durability) -> None:
    """`local`: flushes are confirmed until the log is full; `store`: none is. Another node goes on
    from what is in the bucket; after the partition the first is fenced, and what it had confirmed
    is kept, and no part of the one history."""
    one, two = site.node("one"), site.node("two")
    disk = site.open(one, 1, durability)
    site.write(disk, 0, 1, 4)
    disk.flush()
    shipped(disk)
    one.way.faults, one.patience = AWAY, 3
    before = site.image
    disk.write(0, content(7), 0)
    if durability is Durability.LOCAL:
        disk.flush()
    else:
        with pytest.raises(Unavailable):
            disk.flush()
    other = site.open(two, 2, durability)
    assert read(other) == before
    site.write(other, 8, 8, 2)
    other.flush()
    shipped(other)
    one.way.faults = Faults()
    for act in (disk.ship, disk.flush, lambda: disk.write(0, content(9), 0)):
        with pytest.raises(Fenced):
            act()
    assert site.dumped() == site.image == read(other)
    other.close()
    site.open(one, 3)
    ((_, files),) = one.kept
    assert content(7) in b"".join(files.read(name) for name in files.names())


def test_partition_container_still_writing_within_its_rpo_limit(site: Site) -> None:
    """With a limit a node that is cut off confirms so many seconds of writes and no more: flushes
    wait then, without an error, while what is only written goes on. Back in time, all goes on;
    back after a takeover, what waited is refused, and no more is lost than the limit."""
    one = site.node("one")
    disk = site.open(one, 1, batch=8, rpo_limit=30.0)
    site.write(disk, 0, 1, 4)
    disk.flush()
    shipped(disk)
    confirmed, waited, began = [0.0], list[float](), site.now

    def others() -> None:
        if disk.parts.log.room(9 * 4096):
            site.write(disk, 4 + int(site.now - began) % 8, 10)
        waited.append(disk.parts.exposure.waits.longest)

    one.way.faults, site.back, site.meanwhile = AWAY, [(began + 100, one)], others
    while not waited and site.now - began < 60:
        site.write(disk, 20, 2 + int(site.now))
        disk.flush()
        confirmed.append(site.now - began)
        site.now += 1
    assert max(confirmed[:-1]) < 30.0 <= confirmed[-1], "it confirms until the limit, not longer"
    assert confirmed[-1] >= 100.0, "it did not wait until the store was back"
    assert max(waited) > 60.0, "nobody is told that flushes wait"
    assert disk.parts.exposure.waits.longest == 0.0
    site.meanwhile, site.back = (lambda: None), []
    site.write(disk, 30, 99)
    disk.flush()
    one.way.faults, one.patience = AWAY, 3
    before = site.now
    site.now += 30.0
    with pytest.raises(Unavailable):
        disk.flush()
    other = site.open(site.node("two"), 2)
    one.way.faults = Faults()
    with pytest.raises(Fenced):
        disk.flush()
    assert site.now - before < 60.0
    site.written[30] = 0
    assert read(other) == site.dumped() == site.image


def test_partition_container_still_writing_and_what_was_found_is_too_old(site: Site) -> None:
    """A server that inherits writes does not know how long they have been on this node alone, and
    confirms nothing over them until they are in the bucket."""
    one = site.node("one")
    disk = site.open(one, 1, rpo_limit=30.0)
    site.write(disk, 0, 1, 4)
    disk.flush()
    heir = site.open(one, 1, rpo_limit=30.0)
    assert heir.parts.overlay
    one.way.faults, one.patience = AWAY, 3
    site.write(heir, 8, 2)
    with pytest.raises(Unavailable):
        heir.flush()
    one.way.faults = Faults()
    heir.flush()
    assert site.dumped()[: 4 * 4096] == content(1) * 4
    one.way.faults = AWAY
    site.write(heir, 9, 3)
    heir.flush()


def test_etag_or_sse_change_bucket_migrated(site: Site) -> None:
    """Nothing hangs on what a store adds: copied object by object into another one, in another
    order, with other times and ETags, it is the same disk; no copy is taken for a stray."""
    disk = site.open(site.node("one"), 1)
    for stamp in range(1, 6):
        site.write(disk, stamp, stamp, 8)
        shipped(disk)
    disk.checkpoint()
    disk.close()
    moved = Site()
    moved.now, moved.written = 10 * 86400.0, site.written
    moved.bucket.objects.clear()
    for key, body in sorted(site.bucket.objects.items(), reverse=True):
        moved.now += 1.0
        moved.bucket.put(key, body)
    moved.heads = Heads(StoreRecords(moved.bucket))
    there = moved.open(moved.node("two"), 2)
    moved.now += 10 * 86400.0
    there.tend(commits=1)
    assert read(there) == site.image == moved.dumped()
