"""An owner changes the head as he has left it, and reads it only if that fails."""

from collections import Counter
from dataclasses import replace

import pytest

from backends.disk.core import pins
from backends.disk.core.head import Head, Heads
from backends.disk.core.history import Owner
from backends.errors import Fenced
from backends.records.store import StoreRecords
from backends.stores.counting import Counting
from backends.stores.memory import MemoryStore
from tests.unit.disk.world import UUID

SESSION, OTHER = bytes([1]) * 16, bytes([2]) * 16


class Owned:
    """A disk with an owner, whose requests are counted, and anybody else."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.counted = Counting(store, lambda: 0.0)
        self.anybody, self.heads = Heads(StoreRecords(store)), Heads(StoreRecords(self.counted))
        self.anybody.create(UUID, 4096)
        head = self.heads.take(UUID, claim=1, session=SESSION, node="one")
        self.owner = Owner(head.epoch, SESSION, "one")

    def checkpointed(self, seq: int) -> Head:
        def step(head: Head) -> Head:
            return replace(head, checkpoint=f"ckpt/{seq}", checkpoint_seq=seq)

        return self.heads.change(UUID, self.owner, step)

    def confirmed(self) -> Head:
        return self.heads.change(UUID, self.owner, lambda head: head)


def test_it_is_not_read_first() -> None:
    owned = Owned()
    owned.checkpointed(1)
    owned.counted.total.clear()
    owned.checkpointed(2)
    assert Counter(owned.counted.total) == {"get": 2, "put": 1, "delete": 1}
    assert owned.anybody.read(UUID).checkpoint_seq == 2


def test_what_somebody_did_since_is_kept() -> None:
    owned = Owned()
    owned.checkpointed(1)
    owned.anybody.update(UUID, pins.snapshot("one", "", ""))
    assert set(owned.checkpointed(2).pins) == {"one"}
    owned.anybody.update(UUID, pins.without("one"))
    assert not owned.checkpointed(3).pins


def test_that_it_is_still_his_is_not_believed() -> None:
    owned = Owned()
    owned.checkpointed(1)
    assert owned.confirmed().checkpoint_seq == 1
    owned.checkpointed(2)
    owned.anybody.take(UUID, claim=2, session=OTHER, node="two")
    with pytest.raises(Fenced):
        owned.confirmed()
    with pytest.raises(Fenced):
        owned.checkpointed(3)
    assert owned.anybody.read(UUID).checkpoint_seq == 2


def test_that_something_must_not_be_is_not_believed() -> None:
    owned = Owned()
    owned.checkpointed(1)
    owned.heads.change(UUID, owned.owner, pins.snapshot("one", "", "first"))
    owned.anybody.update(UUID, pins.without("one"))
    head = owned.heads.change(UUID, owned.owner, pins.snapshot("one", "", "second"))
    assert head.pins["one"].call == "second"
