"""StoreRecords over a failing store: a writer that is told of success has written, one that is
told of Conflict has not, and a sleeper never wins with an old version."""

import random
from typing import Any
from unittest.mock import patch

import pytest

from backends.errors import Conflict, Unavailable
from backends.records.store import StoreRecords
from backends.stores.faulty import Faults, FaultyStore
from backends.stores.memory import MemoryStore

FAULTS = Faults(lost_request=0.05, lost_reply=0.08, late_effect=0.05, short_body=0.02)
KEY = "claims/one"


class World:
    """Some writers that append tags to one record. Within any request of one, others may act."""

    def __init__(self, seed: int, faults: Faults = FAULTS, writers: int = 4) -> None:
        self.chance = random.Random(seed)
        self.truth = MemoryStore()
        self.written: list[bytes] = []
        self.refused: list[bytes] = []
        self.depth = 0
        self.count = 0
        self.stores = [
            FaultyStore(self.truth, self.chance, faults, on_call=self._interrupt)
            for _ in range(writers)
        ]
        self.records = [
            StoreRecords(
                store,
                nonce=lambda: f"{self.chance.getrandbits(64):016x}",
                remember=True,
            )
            for store in self.stores
        ]

    def _interrupt(self, verb: str, key: str) -> None:
        """The one who called is paused here while others do whole changes."""
        if self.depth >= 3 or self.chance.random() > 0.08:
            return
        self.depth += 1
        for _ in range(self.chance.randrange(1, 14)):
            self.step()
        self.depth -= 1

    def step(self) -> None:
        """One writer reads and tries to append one tag, or to remove and make the record anew."""
        records = self.chance.choice(self.records)
        self.count += 1
        tag = b"%d" % self.count
        try:
            present = records.get(KEY)
            old = present.value if present else b""
            self._tell(records, tag, old, present.version if present else None)
        except Unavailable:
            return

    def _tell(self, records: StoreRecords, tag: bytes, old: bytes, version: str | None) -> None:
        value = old + b"," + tag if old else tag
        try:
            records.put(KEY, value, expected=version)
        except Conflict:
            self.refused.append(tag)
        else:
            self.written.append(tag)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        for store in self.stores:
            store.settle()
        final = StoreRecords(self.truth).get(KEY)
        tags = final.value.split(b",") if final else []
        assert len(tags) == len(set(tags))
        lost = [tag for tag in self.written if tag not in tags]
        assert not lost, f"told written, yet gone: {lost}"
        risen = [tag for tag in self.refused if tag in tags]
        assert not risen, f"told refused, yet there: {risen}"


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.sim) for block in range(1, 8))]
)
def test_no_seed_breaks_it(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        World(seed).run(30)


def breaks(seeds: int = 100) -> bool:
    for seed in range(seeds):
        world = World(seed)
        try:
            world.run(30)
        except AssertionError:
            return True
    return False


@pytest.mark.sim
def test_without_the_witness_a_sleeper_wins() -> None:
    with patch.object(StoreRecords, "_is_first", lambda *_: True):
        assert breaks()


@pytest.mark.sim
def test_without_fresh_put_ids_a_late_duplicate_testifies_falsely() -> None:
    real = StoreRecords._make

    def one_put_id(self: StoreRecords, *args: Any) -> Any:
        nonce, kept = self._nonce, self._nonce()
        self._nonce = lambda: kept
        try:
            return real(self, *args)
        finally:
            self._nonce = nonce

    with patch.object(StoreRecords, "_make", one_put_id):
        assert breaks()


@pytest.mark.sim
def test_without_the_second_listing_a_sleepers_slot_is_believed() -> None:
    def once(self: StoreRecords, key: str) -> Any:
        number = self._highest(key)
        return self._try_read(key, number) if number else None

    with patch.object(StoreRecords, "_listed", once):
        assert breaks()


def test_slots_are_collected() -> None:
    world = World(1, Faults())
    world.run(40)
    assert len(world.truth.objects) <= 4


def test_a_removed_key_keeps_its_numbers() -> None:
    store = MemoryStore()
    records = StoreRecords(store)
    first = records.put(KEY, b"one", expected=None)
    records.delete(KEY, expected=first.version)
    assert records.keys("claims") == []
    again = records.put(KEY, b"one", expected=None)
    assert again.version.startswith("3.")
