"""Rows of the failure matrix (docs/s3-failures.md): processes and disks of one node."""

import errno
import random
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from backends.disk.core.commit import Kind, decode
from backends.disk.engine import Disk, Durability
from backends.disk.losses import told
from backends.disk.reading.cache import Cache
from backends.disk.worker import Worker
from backends.errors import Damaged, HostError
from backends.stores.faulty import Faults
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.site import AWAY, Node, Site, read, shipped
from tests.unit.disk.world import UUID, content, small_sizes


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes():
        yield Site()


def fences(site: Site) -> int:
    bodies = [site.bucket.objects[key] for key in site.keys("log")]
    records = [decode(body, uuid=UUID, seq=seq) for seq, body in enumerate(bodies, 1)]
    return sum(record.kind is Kind.FENCE for record in records)


def test_data_path_process_killed(site: Site) -> None:
    """The next process goes on in the same session, with every write, flushed or not; a request
    that comes a second time does nothing twice."""
    one = site.node("one")
    disk = site.open(one, 1)
    disk.write(0, content(1), unique=11)
    disk.write(0, content(2), unique=12)
    disk.write(4096, content(3), unique=13)
    assert disk.ship()
    disk.write(4096, content(4), unique=14)
    again = site.open(one, 1)
    assert again.parts.journal.owner == disk.parts.journal.owner
    assert fences(site) == 1
    again.write(0, content(1), unique=11)
    again.write(4096, content(3), unique=13)
    assert again.read(0, 8192) == content(2) + content(4)
    assert again.parts.lost_after == 0


def test_a_late_record_of_the_dead_process_is_not_followed_by_older_bytes(site: Site) -> None:
    """Its request was on its way when the process died, and its successor sends the same in smaller
    pieces: a piece that the late record holds, with newer bytes behind it, is in the bucket."""
    one = site.node("one")
    disk = site.open(one, 1)
    for stamp in (1, 2, 3):
        site.write(disk, 0, stamp)
    assert disk.ship()
    record = site.keys("log")[-1]
    late = site.bucket.objects.pop(record)
    again = site.open(one, 1, batch=1)
    site.write(again, 4096 // 4096, 4)
    site.bucket.objects[record] = late
    while again.ship():
        assert site.dumped()[:4096] == content(3)
    assert site.dumped() == site.image
    assert len(site.keys("log")) == 3  # the fence, the late one, and what was written since


@pytest.mark.parametrize("seed", range(10))
def test_node_power_loss_comes_back_first(site: Site, seed: int) -> None:
    """Nothing flushed is lost, though none of it had reached the bucket, and what else is there is
    in order; the epoch rises, and a fence stands behind what had been sent."""
    chance = random.Random(seed)
    one = site.node("one")
    disk = site.open(one, 1)
    epoch = disk.parts.journal.owner.epoch
    site.write(disk, 0, 1)
    shipped(disk)
    flushed, last = chance.randrange(2, 20), 25
    for stamp in range(2, last):
        site.write(disk, 0, stamp)
        if stamp == flushed:
            disk.flush()
    one.files.cut_power(chance)
    one.boot += 1
    back = site.open(one, 1)
    assert back.parts.journal.owner.epoch > epoch
    assert fences(site) == 2
    found = int.from_bytes(back.read(0, 4096)[:8], "little")
    assert flushed <= found < last
    shipped(back)
    assert site.dumped()[:4096] == content(found)


@pytest.mark.parametrize("durability", Durability)
def test_node_lost_volume_up_elsewhere(site: Site, durability: Durability) -> None:
    """The prefix that is in the bucket: with `store` all that was flushed. What may be missing is
    said, with the moment from which on."""
    one = site.node("one")
    disk = site.open(one, 1, durability)
    site.write(disk, 0, 1)
    shipped(disk)
    in_bucket = disk.parts.journal.tail.seq
    site.write(disk, 0, 2)
    disk.flush()
    site.now += 9.0
    two = site.open(site.node("two"), 2, durability)
    kept = durability is Durability.STORE
    assert two.read(0, 4096) == content(2 if kept else 1)
    assert two.parts.lost_after == in_bucket + kept
    words = told(two.parts.journal, site.bucket, "one", two.parts.lost_after, durability)
    assert f"node one, which did not close it: whatever it wrote behind record {2 + kept}" in words
    assert "in the last 9 s before that at most is not here" in words
    assert ("no flush had confirmed it" in words) is kept
    two.close()
    site.heads.let_go(UUID, two.parts.journal.owner)
    after = site.open(site.node("three"), 3, durability)
    assert after.parts.lost_after == 0, "what was closed is whole"


def test_local_disk_full(site: Site, tmp_path: Path) -> None:
    """By whomever it was filled: writers get slower, nobody gets an error, and the cache holds
    less. Once there is space again the log uses it."""

    one = site.node("one")
    one.cache = lambda: Cache(tmp_path / "cache", 1 << 20)
    disk = site.open(one, 1)
    one.files.full = True
    with patch("os.pwrite", side_effect=OSError(errno.ENOSPC, "No space left on device")) as cache:
        for stamp in range(1, 200):
            if not disk.parts.log.room(4096):
                assert disk.ship()
            site.write(disk, stamp % 40, stamp)
            disk.flush()
        assert read(disk) == site.image
        shipped(disk)
    assert cache.called
    assert disk.parts.cache.used() == 0
    assert site.dumped() == site.image
    one.files.full = False
    while disk.parts.log.room(4096):
        site.write(disk, 0, 999)
    assert len([name for name in one.files.names() if name.startswith("segment")]) > 3


class Works:
    """A worker that is run by hand."""

    def __init__(self, site: Site, disk: Disk) -> None:
        self.complaints: list[str] = []
        self.worker = Worker(
            *(disk,),
            rpo=0.0,
            clock=lambda: site.now,
            complain=lambda *why: self.complaints.append(str(why)),
        )

    def run(self) -> None:
        """Until it ends by itself, as it does when the disk is broken."""
        self.worker._run()


@pytest.mark.parametrize("way", ["free", "cut off"])
def test_local_disk_eio_on_log(site: Site, way: str) -> None:
    """From the failed sync on nothing is acknowledged. What can still be read is sent, so that the
    next node finds it; if the bucket is away, too, it is there when the log is opened again."""
    one = site.node("one")
    disk = site.open(one, 1)
    site.write(disk, 0, 1)
    disk.flush()
    site.write(disk, 0, 2)
    site.write(disk, 4, 3)
    one.files.fail_sync = True
    with pytest.raises(HostError, match="Input/output error"):
        disk.flush()
    one.files.fail_sync = False
    for act in (disk.flush, lambda: disk.write(0, content(9), 0), lambda: disk.discard(0, 4096)):
        with pytest.raises(HostError):
            act()
    works = Works(site, disk)
    if way == "cut off":
        one.way.faults, one.patience = AWAY, 2
    works.run()
    assert len(works.complaints) == (1 if way == "free" else 2)
    with pytest.raises(HostError):
        disk.flush()
    one.way.faults = Faults()
    if way == "free":
        assert read(site.open(site.node("two"), 2)) == site.image
    else:
        assert read(site.open(one, 1)) == site.image


@pytest.mark.parametrize("seed", range(6))
def test_local_disk_eio_on_log_is_not_forgotten(site: Site, seed: int) -> None:
    """A system that could not write says so once, and takes the pages for written. The next process
    reads them, and its first sync says nothing; it must not be believed before they are written
    again."""
    one = site.node("one")
    disk = site.open(one, 1)
    site.write(disk, 0, 1)
    site.write(disk, 4, 2)
    one.files.fail_sync = True
    with pytest.raises(HostError):
        disk.flush()
    one.files.fail_sync = False
    again = site.open(one, 1)
    assert read(again) == site.image
    again.flush()
    cut = random.Random(seed)
    one.files.cut_power(cut)
    one.boot += 1
    assert read(site.open(one, 1)) == site.image


def spoil(files: MemoryFiles, position: int, segment: int = 56 * 1024) -> None:
    """One bit of what lies at a position of the local log."""
    number, at = divmod(position, segment)
    files.files[f"segment-{number:016x}"].present[at] ^= 1


def cached(site: Site, node: Node, tmp_path: Path) -> Disk:
    node.cache = lambda: Cache(tmp_path / "cache", 1 << 20)
    disk = site.open(node, 1)
    site.write(disk, 0, 1, 8)
    shipped(disk)
    return disk


def test_bit_flip_in_local_cache(site: Site, tmp_path: Path) -> None:
    """A clean block is fetched anew, wherever in the cache's files the bit is."""
    disk = cached(site, site.node("one"), tmp_path)
    for name in ("cache", "cache.table"):
        file = tmp_path / name
        used = file.read_bytes()[: 9 * 4096]
        for at in range(0, len(used), 61):
            with file.open("r+b") as opened:
                opened.seek(at)
                opened.write(bytes([used[at] ^ 16]))
            if at % 4096 < 61:
                assert disk.read(0, 8 * 4096) == content(1) * 8
        file.write_bytes(used.ljust(1 << 20, b"\0"))
    disk.parts.cache.close()
    assert cached(site, site.node("one"), tmp_path).read(0, 8 * 4096) == content(1) * 8


def test_bit_flip_in_local_cache_of_what_is_not_sent(site: Site) -> None:
    """A dirty block is an error for itself alone, and is never sent: nor is what came after it,
    which the next node may not see without it."""
    one = site.node("one")
    disk = site.open(one, 1)
    site.write(disk, 0, 1)
    shipped(disk)
    before = site.image
    disk.write(4096, content(2) * 2, 0)
    dirty = disk.parts.overlay.find(1)
    assert not isinstance(dirty, bool)
    spoil(one.files, dirty.position + 77)
    with pytest.raises(Damaged):
        disk.read(4096, 4096)
    assert disk.read(2 * 4096, 4096) == content(2)
    assert disk.read(0, 4096) == content(1)
    objects = dict(site.bucket.objects)
    with pytest.raises(Damaged, match=r"block 1 .* is damaged in the local log"):
        disk.ship()
    assert site.bucket.objects == objects
    with pytest.raises(Damaged):
        disk.flush()
    assert site.dumped() == before == read(site.open(site.node("two"), 2))


def test_bit_flip_in_local_cache_of_a_log_record(site: Site) -> None:
    """At the end of the log it is a write that was torn; before it, damage that is said."""
    one = site.node("one")
    disk = site.open(one, 1)
    site.write(disk, 0, 1)
    disk.flush()
    site.write(disk, 1, 2)
    last, first = disk.parts.overlay.find(1), disk.parts.overlay.find(0)
    assert not isinstance(last, bool)
    assert not isinstance(first, bool)
    spoil(one.files, last.position)
    assert site.open(one, 1).read(0, 8192) == content(1) + bytes(4096)
    site.write(disk := site.open(one, 1), 1, 3)
    disk.flush()
    site.write(disk, 2, 4)
    spoil(one.files, first.position)
    with pytest.raises(Damaged, match="had been synced"):
        site.open(one, 1)
