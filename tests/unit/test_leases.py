"""Leases: the arithmetic of who believes for how long, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import Fenced, Invalid
from backends.leases import Lease, LeaseWatch, Terms
from backends.records import Record
from backends.records.memory import MemoryRecords

rates = st.floats(0.0, 1.0)


@given(ttl=st.floats(4.0, 600.0), drift=st.floats(0.0, 0.1), slow=rates, fast=rates)
def test_the_holder_always_stops_first(ttl: float, drift: float, slow: float, fast: float) -> None:
    """Whatever the two clocks do within the bound, in real time."""
    terms = Terms(ttl=ttl, renew=0.5, margin=0.0, drift=drift)
    holder_rate = 1 - drift * slow
    observer_rate = 1 + drift * fast
    assert terms.trust / holder_rate <= terms.ttl / observer_rate * (1 + 1e-12)


def test_the_default_leaves_room_for_two_lost_renewals() -> None:
    terms = Terms()
    assert (terms.ttl, terms.renew) == (6.0, 2.0)
    assert terms.trust > 2 * terms.renew


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": 4.0},
        {"renew": 0.0},
        {"renew": -1.0},
        {"margin": -1.0},
        {"drift": 0.5},
        {"margin": 3},
    ],
)
def test_terms_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid):
        Terms(**wrong)


class Slow(MemoryRecords):
    """Every write takes three seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        self.now += 3.0
        return super().put(key, value, expected=expected)


def lease(records: Slow, **other: object) -> Lease:
    watch = LeaseWatch(records, lambda: records.now)
    return Lease(
        records,
        "a",
        watch,
        clock=lambda: records.now,
        new_session=lambda: "s1",
        **other,  # type: ignore[arg-type]
    )


def test_validity_counts_from_before_the_request() -> None:
    records = Slow()
    mine = lease(records)
    mine.hold()
    started = records.now
    mine.renew()
    assert records.now == started + 3.0
    assert mine.valid_until == started + mine.terms.trust


def test_without_a_session_nothing_is_renewed() -> None:
    records = Slow()
    mine = lease(records)
    mine.renew()
    assert records.keys("nodes") == []
    assert mine.session is None
    assert mine.remaining() < 0


def test_a_session_is_remembered_before_it_is_used() -> None:
    records = Slow()

    def remember(session: str) -> None:
        assert records.keys("nodes") == []
        remembered.append(session)

    remembered: list[str] = []
    assert lease(records, remember=remember).hold() == "s1"
    assert remembered == ["s1"]


def test_a_fresh_lease_is_held_without_asking() -> None:
    records = Slow()
    mine = lease(records)
    mine.hold()
    records.now = mine.valid_until - mine.terms.trust + 1.0
    before = records.now
    mine.hold()
    assert records.now == before


def test_a_lease_whose_record_vanished_is_lost() -> None:
    records = Slow()
    mine = lease(records)
    mine.hold()
    record = records.get("nodes/a")
    assert record is not None
    records.delete("nodes/a", expected=record.version)
    with pytest.raises(Fenced):
        mine.renew()
    assert mine.remaining() < 0
