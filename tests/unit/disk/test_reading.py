"""The reader, its cache, and what is fetched before it is asked for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

from backends.disk.core.ahead import MOST, Ahead
from backends.disk.core.coding import FRAME
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.inspection.scrubbing import ROUND, Scrubber
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.reading.cache import Cache
from backends.disk.reading.upcoming import Upcoming
from backends.disk.reading.warming import Warming
from backends.errors import Damaged, NotFound, Unavailable
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import UUID

BLOCKS = 4096


class Noting(MemoryStore):
    """Notes which blocks are read, and can be slow or away."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[str, int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.away = False
        self.together = 0
        self.most = 0
        self.enough = 1 << 30
        """So many at a time open the gate."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if self.away:
            raise Unavailable("away")
        if start == 0:  # what a record says
            return super().get_range(key, start, length)
        with self._lock:
            self.ranges.append((key, start, length))
            self.together += 1
            self.most = max(self.most, self.together)
            if self.most >= self.enough:
                self.gate.set()
        self.gate.wait(10)
        with self._lock:
            self.together -= 1
        return super().get_range(key, start, length)


class Bench:
    """One node with a cache on disk."""

    def __init__(self, home: Path, store: Noting) -> None:
        self.store, self.home, self.now, self.ids = store, home, 0.0, 0
        self.pools = [ThreadPoolExecutor(4) for _ in range(3)]
        self.place = Place(
            store=store,
            heads=Heads(StoreRecords(store)),
            files=MemoryFiles(),
            orphan=lambda binding: MemoryFiles(),
            cache=lambda: Cache(home / "cache", 16 << 20),
            node="node",
            boot="boot",
            new_id=self.new_id,
            clock=lambda: self.now,
            wait=lambda count: None,
            readers=self.pools[0],
            background=self.pools[1],
        )

    def new_id(self) -> bytes:
        self.ids += 1
        return self.ids.to_bytes(16, "big")

    def open(self) -> Disk:
        return open_disk(self.place, UUID, claim=1, terms=Terms(segment=1 << 20))

    def end(self) -> None:
        self.store.gate.set()
        for pool in self.pools:
            pool.shutdown()


@pytest.fixture
def store() -> Noting:
    found = Noting()
    Heads(StoreRecords(found)).create(UUID, BLOCKS * 4096)
    return found


@pytest.fixture
def bench(tmp_path: Path, store: Noting) -> object:
    made = Bench(tmp_path, store)
    yield made
    made.end()


def written(bench: Bench, blocks: int = 512, at_once: int = 64) -> Disk:
    """A disk whose first blocks are in the store and nowhere else."""
    disk = bench.open()
    for first in range(0, blocks, at_once):
        body = b"".join(block(number) for number in range(first, first + at_once))
        disk.write(first * 4096, body, 0)
        disk.ship()
    disk.close()
    for name in ("cache", "cache.table"):
        (bench.home / name).unlink()
    bench.store.ranges.clear()
    return bench.open()


def block(number: int) -> bytes:
    return number.to_bytes(8, "little") * 512


def expected(first: int, count: int) -> bytes:
    return b"".join(block(number) for number in range(first, first + count))


def test_one_read_of_many_objects_asks_for_all_at_once(bench: Bench) -> None:
    disk = written(bench, at_once=64)
    bench.store.gate.clear()
    bench.store.enough = 4
    assert disk.read(0, 256 * 4096) == expected(0, 256)
    assert bench.store.most == 4


def test_what_is_fetched_already_is_not_fetched_again(bench: Bench) -> None:
    disk = written(bench)
    bench.store.gate.clear()
    with ThreadPoolExecutor(6) as pool:
        reads = [pool.submit(disk.read, 4096 * n, 4096) for n in range(6)]
        threading.Timer(0.1, bench.store.gate.set).start()
        assert [read.result() for read in reads] == [block(n) for n in range(6)]
    assert len(bench.store.ranges) == 1


def test_a_new_owner_reads_the_log_many_records_at_a_time(bench: Bench) -> None:
    """And finds those that were made while it read."""
    disk = bench.open()
    for number in range(40):
        disk.write(number * 4096, block(number), 0)
        disk.ship()
    store, real, together, most = bench.store, bench.store.get, [0], [0]
    lock = threading.Lock()

    def get(key: str) -> bytes:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        try:
            if "/log/" in key:
                time.sleep(0.005)
            return real(key)
        finally:
            with lock:
                together[0] -= 1

    with patch.object(store, "get", get):
        again = bench.open()
    assert 2 <= most[0] <= 16
    assert again.read(0, 40 * 4096) == expected(0, 40)
    asked: list[int] = []

    def fetch(seq: int) -> bytes:
        asked.append(seq)
        if seq > 3:
            raise NotFound("not yet")
        return b"%d" % seq

    upcoming = Upcoming(fetch, bench.pools[0], {1, 2, 3, 4})
    assert [upcoming.get(seq) for seq in (1, 2, 3, 4, 5)] == [b"1", b"2", b"3", None, None]
    assert set(asked) == {1, 2, 3, 4}
    assert Upcoming(fetch, None, {1}).get(1) is None


def test_the_cache_lasts_over_a_restart(bench: Bench) -> None:
    disk = written(bench)
    assert disk.read(0, 64 * 4096) == expected(0, 64)
    asked = len(bench.store.ranges)
    disk.parts.cache.close()
    again = bench.open()
    assert again.read(0, 64 * 4096) == expected(0, 64)
    assert len(bench.store.ranges) == asked > 0


@pytest.mark.parametrize("spoil", ["frames", "table", "both", "short"])
def test_a_spoiled_cache_is_a_miss_and_nothing_worse(bench: Bench, spoil: str) -> None:
    disk = written(bench)
    disk.read(0, 256 * 4096)
    disk.parts.cache.close()
    for name in ("cache", "cache.table"):
        path = bench.home / name
        body = bytearray(path.read_bytes())
        if spoil == "short":
            path.write_bytes(body[: len(body) // 3])
        elif spoil == "both" or (name == "cache") == (spoil == "frames"):
            body[::101] = bytes(byte ^ 0x55 for byte in body[::101])
            path.write_bytes(body)
    again = bench.open()
    assert again.read(0, 256 * 4096) == expected(0, 256)


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 4 * 65536)
    for frame in range(20):
        cache.put("data/a", frame, bytes([frame]) * 65536)
    assert cache.used() == 4 * 65536
    assert (tmp_path / "cache").stat().st_size == 4 * 65536
    assert cache.get("data/a", 15) is None
    assert cache.get("data/a", 19) == bytes([19]) * 65536
    cache.close()
    smaller = Cache(tmp_path / "cache", 2 * 65536)
    assert smaller.used() <= 2 * 65536
    for frame in (16, 17, 18, 19):
        assert smaller.get("data/a", frame) in (None, bytes([frame]) * 65536)


def test_a_cache_whose_disk_is_full_caches_nothing(tmp_path: Path) -> None:
    import os
    from unittest.mock import patch

    cache = Cache(tmp_path / "cache", 1 << 20)
    full = OSError(28, "No space left on device")
    with patch.object(os, "pwrite", side_effect=full):
        cache.put("data/a", 0, bytes(65536))
    assert cache.get("data/a", 0) is None
    cache.put("data/a", 0, b"x" * 65536)
    assert cache.get("data/a", 0) == b"x" * 65536


def test_streams_are_read_ahead_and_random_reads_are_not() -> None:
    ahead = Ahead()
    assert ahead.after(100, 8) is None
    first = ahead.after(108, 8)
    assert first is not None
    assert first[0] == 116
    asked, at = first[0] + first[1], 116
    for _ in range(2000):
        found = ahead.after(at, 8)
        at += 8
        if found:
            assert found[0] == asked
            asked = found[0] + found[1]
        assert at <= asked <= at + MOST
    assert asked - at > MOST // 2
    lonely = Ahead()
    assert all(lonely.after(number * 7919 % 100003, 1) is None for number in range(100))


def test_two_streams_side_by_side() -> None:
    ahead = Ahead()
    found = [ahead.after(base + 8 * n, 8) for n in range(4) for base in (0, 50000)]
    assert found[:2] == [None, None]
    assert None not in (found[2], found[3])


def test_a_stream_finds_its_blocks_in_the_cache(bench: Bench) -> None:
    disk = written(bench)
    warming = Warming(
        disk,
        disk.parts.journal,
        bench.store,
        bench.pools[2],
        clock=lambda: 0.0,
        new_id=bench.new_id,
    )
    for first in range(0, 256, 32):
        warming.reading(first, 32)
        assert disk.read(first * 4096, 32 * 4096) == expected(first, 32)
    bench.pools[2].shutdown()
    cache, found = disk.parts.cache, disk.parts.journal.map.find(256, 64)
    assert all(s and cache.holds(s.holder.key, s.place // FRAME) for s in found)


def test_what_was_read_after_a_mount_is_fetched_after_the_next(bench: Bench) -> None:
    disk = written(bench)
    journal, pool = disk.parts.journal, bench.pools[2]

    def warming(of: Disk) -> Warming:
        return Warming(
            *(of, of.parts.journal, bench.store, pool),
            clock=lambda: bench.now,
            new_id=bench.new_id,
        )

    first = warming(disk)
    first.reading(0, 32)
    first.reading(400, 8)
    bench.now = 31.0
    first.keep()
    first.keep()
    assert len([key for key in bench.store.objects if "/hot/" in key]) == 1
    disk.close()
    for name in ("cache", "cache.table"):
        (bench.home / name).unlink()
    again = bench.open()
    bench.store.ranges.clear()
    second = warming(again)
    second.begin().result(30)
    assert second.warmed == 48
    asked = len(bench.store.ranges)
    assert again.read(0, 32 * 4096) == expected(0, 32)
    assert again.read(400 * 4096, 8 * 4096) == expected(400, 8)
    assert len(bench.store.ranges) == asked
    assert journal.prefix in next(key for key in bench.store.objects if "/hot/" in key)


@pytest.mark.parametrize("fault", ["away", "spoiled", "none"])
def test_a_hint_that_cannot_be_read_harms_nothing(bench: Bench, fault: str) -> None:
    disk = written(bench)
    if fault == "spoiled":
        bench.store.objects[disk.parts.journal.prefix + "hot/1"] = b"nonsense"
    warming = Warming(
        disk,
        disk.parts.journal,
        bench.store,
        bench.pools[2],
        clock=lambda: 0.0,
        new_id=bench.new_id,
    )
    bench.store.away = fault == "away"
    assert warming.begin().result(30) is None
    warming.reading(0, 8)
    warming.reading(8, 8)
    bench.pools[2].shutdown()
    bench.store.away = False
    assert disk.read(0, 16 * 4096) == expected(0, 16)


def test_many_streams_do_not_wait_for_each_other_for_ever(bench: Bench) -> None:
    disk = written(bench)
    warming = Warming(
        *(disk, disk.parts.journal, bench.store, bench.pools[2]),
        clock=lambda: 0.0,
        new_id=bench.new_id,
    )
    for step in range(4):
        for stream in range(8):
            first = stream * 64 + step * 8
            warming.reading(first, 8)
            assert disk.read(first * 4096, 8 * 4096) == expected(first, 8)


def test_a_prefetch_that_fails_is_not_the_readers_failure(bench: Bench) -> None:
    """A read that waits for what was being fetched ahead asks itself when that fails."""
    disk = written(bench)
    with disk.parts.journal.lock:
        places = [s for s in disk.parts.journal.map.find(0, 16) if s]
    bench.store.away = True
    for task in disk.parts.reader.prefetch(places):
        task.result()
    bench.store.away = False
    assert disk.read(0, 16 * 4096) == expected(0, 16)


def test_wrong_bytes_are_never_served_whatever_the_cache_holds(bench: Bench) -> None:
    disk = written(bench)
    key = next(
        key for key in bench.store.objects if "/log/" in key and len(bench.store.get(key)) > 4096
    )
    body = bytearray(bench.store.objects[key])
    body[-5] ^= 1
    bench.store.objects[key] = bytes(body)
    bad = 0
    for number in range(512):
        try:
            assert disk.read(number * 4096, 4096) == block(number)
        except Damaged:
            bad += 1
    assert bad == 1


def test_what_nobody_reads_is_looked_over_in_the_background(bench: Bench) -> None:
    """Round and round, one a day; damage is told, what is collected meanwhile is not."""
    disk = written(bench)
    now = [0.0]
    scrubber = Scrubber(
        *(disk.parts.journal, bench.store, disk.parts.reader), every=60.0, clock=lambda: now[0]
    )

    def rounds(count: int) -> list[str]:
        for _ in range(count):
            scrubber.step()
            now[0] += 60.0
        return list(disk.parts.reader.damaged)

    count = sum(1 for found in disk.parts.journal.map.objects.values() if found.live)
    assert rounds(2 * count) == []
    assert scrubber.looked == count, "few objects are not read again and again"
    disk.write(0, bytes(4096), 0)
    disk.ship()
    assert rounds(2) == []
    assert scrubber.looked == count + 1, "what is new has its turn"
    now[0] += ROUND
    keys = [k for k in bench.store.objects if "/log/" in k and len(bench.store.objects[k]) > 9000]
    body = bench.store.objects[keys[0]]
    bench.store.objects[keys[0]] = body[:-1] + bytes([body[-1] ^ 1])
    del bench.store.objects[keys[1]]
    found = rounds(count)
    assert sorted(found) == [f"object {keys[0]} is damaged", f"object {keys[1]} is missing"]
