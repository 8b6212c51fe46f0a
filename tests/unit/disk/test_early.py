"""Parts of the map that are fetched before anybody touches them."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import pytest

from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.disk.reading import early
from backends.disk.reading.early import Early
from backends.errors import Unavailable
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_place import memory_place
from tests.unit.disk.world import UUID, small_sizes

TERMS = Terms(segment=56 * 1024, segments=4)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def test_what_came_is_given_once(pool: ThreadPoolExecutor) -> None:
    found = Early(str.encode, pool, ["a", "b"])
    pool.submit(int).result(60)
    assert [found.take(key) for key in "abac"] == [b"a", b"b", None, None]


def test_what_failed_or_did_not_begin_is_nothing(pool: ThreadPoolExecutor) -> None:
    gate = threading.Event()

    def fetch(key: str) -> bytes:
        gate.wait(60)
        raise Unavailable("away")

    found = Early(fetch, pool, ["a", "b"])
    assert found.take("b") is None
    gate.set()
    assert found.take("a") is None


def test_no_more_is_kept_than_there_is_room_for(pool: ThreadPoolExecutor) -> None:
    with patch.object(early, "BYTES", 3), patch.object(early, "MOST", 5):
        found = Early(lambda key: b"xy", pool, "abcdefgh")
        pool.submit(int).result(60)
        assert [found.take(key) for key in "abcdefgh"] == [b"xy"] * 2 + [None] * 6


def test_after_the_end_nothing_is_fetched_or_kept(pool: ThreadPoolExecutor) -> None:
    gate, asked = threading.Event(), []

    def fetch(key: str) -> bytes:
        asked.append(key)
        gate.wait(60)
        return b"x"

    found = Early(fetch, pool, "abc")
    found.end()
    gate.set()
    pool.submit(int).result(60)
    assert found.take("a") is None
    assert asked in ([], ["a"])


class Regions(MemoryStore):
    """Notes which parts of the map are read, and may spoil them at first."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.spoiled: set[str] = set()

    def get(self, key: str) -> bytes:
        body = super().get(key)
        if "/ckpt/" not in key or key.endswith("/manifest"):
            return body
        self.read.append(key)
        if key in self.spoiled:
            self.spoiled.remove(key)
            return body[:-1] + bytes([body[-1] ^ 1])
        return body


def cold(store: Regions, pool: ThreadPoolExecutor | None) -> Disk:
    """As a node opens the disk that never had it."""
    ids = itertools.count(1)
    claim = Heads(StoreRecords(store)).read(UUID).epoch + 1
    node = f"node-{claim}"
    place = memory_place(store, node, lambda: f"{node}-{next(ids)}".encode().ljust(16)[:16])
    return open_disk(replace(place, early=pool), UUID, claim=claim, terms=TERMS)


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_cold_node_asks_for_each_region_once(pool: ThreadPoolExecutor, spoiled: bool) -> None:
    """... and again when what came was wrong."""
    store = Regions()
    Heads(StoreRecords(store)).create(UUID, 64 * 4096)
    with small_sizes():
        disk = cold(store, None)
        for block in range(0, 64, 8):
            disk.write(block * 4096, bytes([block + 1]) * 4096, 2 * block + 2)
        disk.close()
        store.read.clear()
        if spoiled:
            store.spoiled = {item.key for item in store.list(f"disks/{UUID}/ckpt/")}
        disk = cold(store, pool)
        pool.submit(int).result(60)
        early_reads = len(store.read)
        assert early_reads == 4
        for block in range(0, 64, 8):
            assert disk.read(block * 4096, 4096) == bytes([block + 1]) * 4096
        assert len(store.read) == (8 if spoiled else 4)
