"""The probe finds each kind of liar."""

import itertools
import random
import threading

from backends.errors import Conflict
from backends.stores.faulty import Faults, FaultyStore
from backends.stores.memory import MemoryStore
from backends.stores.probe import RACERS, probe


def names() -> "itertools.count[int]":
    return itertools.count()


def test_store_without_working_conditions() -> None:
    store = FaultyStore(MemoryStore(), random.Random(1), Faults(ignored_condition=1))
    number = names()
    verdict = probe(store, lambda: f"n{next(number)}")
    assert not verdict.conditional
    assert "If-None-Match" in verdict.faults[0]


class RacyStore(MemoryStore):
    """Right in sequence; when all ask at once, all are told that they won."""

    def __init__(self) -> None:
        super().__init__()
        self._together = threading.Barrier(RACERS)

    def put_if_absent(self, key: str, body: bytes) -> None:
        """Check, then act: the classic."""
        free = self.head(key) is None
        if body.startswith(b"racer"):
            self._together.wait(10)
        if not free:
            raise Conflict(key)
        self.put(key, body)


def test_store_without_working_conditions_in_a_race() -> None:
    number = names()
    verdict = probe(RacyStore(), lambda: f"n{next(number)}")
    assert verdict.faults == ("32 of 32 clients that raced to make one key were told they won",)


def test_a_store_with_stale_listings_is_found() -> None:
    class Forgetful(MemoryStore):
        def list(self, prefix: str, after: str = "") -> list:  # type: ignore[type-arg]
            return []

    number = names()
    verdict = probe(Forgetful(), lambda: f"n{next(number)}")
    assert any("listing" in fault for fault in verdict.faults)
