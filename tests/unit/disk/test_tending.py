"""What a disk does besides shipping must not keep it from shipping."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from backends.disk import worker as worker_module
from backends.disk.collection.collecting import HURRIED
from backends.disk.core.head import Heads
from backends.disk.engine import CHECKPOINT_EVERY, Disk
from backends.disk.opening import Place
from backends.disk.worker import Worker
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.test_outage import until
from tests.unit.disk.test_reopening import place
from tests.unit.disk.test_snapshots import elsewhere, first, opened
from tests.unit.disk.world import UUID, small_sizes

FAR = 0.1
"""Seconds of a deletion in a store that is far away."""


@pytest.fixture(autouse=True)
def _small() -> Any:
    with small_sizes():
        yield


def on(store: MemoryStore, **world: Any) -> Place:
    heads = Heads(StoreRecords(store))
    heads.create(UUID, 40 * 4096)
    return replace(place(), store=store, heads=heads, **world)


class Meeting(MemoryStore):
    """In which the parts of a checkpoint wait until two of them, and the manifest, are on their
    way: nobody reads it before the head names it."""

    def __init__(self) -> None:
        super().__init__()
        self.met = threading.Barrier(3, timeout=30)
        self.parts: set[str] = set()
        self.met_all = False

    def put(self, key: str, body: bytes) -> None:
        if "/ckpt/" in key and not self.met_all:
            self.parts.add(key)
            self.met.wait()
            self.met_all = True
        super().put(key, body)


def test_the_parts_of_a_checkpoint_go_side_by_side() -> None:
    with ThreadPoolExecutor(4) as pool:
        store = Meeting()
        where = on(store, pool=pool)
        disk = opened(where)
        disk.write(0, bytes([7]) * 4096, 0)
        disk.write(39 * 4096, bytes([8]) * 4096, 0)
        disk.ship()
        disk.checkpoint()
        assert len(store.parts) == 3
        disk.close()
        assert first(replace(where, pool=None)) == 7


class Far(MemoryStore):
    """Its deletions take their time."""

    now = 0.0
    deleted = 0

    def delete(self, key: str) -> None:
        if key.startswith(f"disks/{UUID}/"):
            self.now += FAR
            self.deleted += 1
        super().delete(key)


@pytest.fixture
def littered() -> tuple[Far, Disk]:
    """A disk of which many objects are due."""
    store = Far()
    disk = opened(on(store, clock=lambda: store.now))
    for byte in range(1, 40):
        disk.write(0, bytes([byte]) * 20 * 4096, 0)
        disk.ship()
    disk.checkpoint()
    assert disk.parts.collector.waiting > 30
    store.deleted = 0
    return store, disk


def test_collection_ends_soon_when_there_is_something_to_ship(littered: tuple[Far, Disk]) -> None:
    store, disk = littered
    disk.tend(hurried=lambda: True)
    assert 1 <= store.deleted <= HURRIED / FAR + 1
    before = store.deleted
    disk.tend(hurried=lambda: True)
    assert store.deleted > before, "and goes on with the next look, however busy the disk is"


def test_collection_takes_its_time_when_nobody_waits(littered: tuple[Far, Disk]) -> None:
    store, disk = littered
    disk.tend()
    assert store.deleted > 30


def test_who_inherits_many_records_makes_a_checkpoint_at_once() -> None:
    """Owners that die one after the other, each within seconds, would leave ever more records
    behind, each of which the next one has to read before anybody is served."""
    where = on(MemoryStore())
    for byte in range(2):
        disk = opened(elsewhere(where))
        for number in range(CHECKPOINT_EVERY):
            disk.write(number % 40 * 4096, bytes([byte]) * 4096, 0)
            disk.ship()
    heir = opened(elsewhere(where))
    assert heir.parts.journal.tail.seq > 2 * CHECKPOINT_EVERY
    rested = threading.Event()
    worker = Worker(
        heir,
        rpo=3600.0,
        clock=lambda: 0.0,
        complain=lambda what, error: None,
        rest=rested.set,
    )
    with patch.object(worker_module, "_SETTLE_SECONDS", 0.0):
        worker.start()
        try:
            until(lambda: where.heads.read(UUID).checkpoint_seq > 2 * CHECKPOINT_EVERY)
            until(rested.is_set)
        finally:
            worker.stop()
