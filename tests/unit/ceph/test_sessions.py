"""Who may write is written down before he writes, and a claimant that overslept touches nobody."""

import pytest

from backends.ceph.sessions import Session, Sessions
from backends.errors import Damaged, Fenced
from backends.records.memory import MemoryRecords

ONE = Session("one", "10.0.0.1:0/1", "kedge.u.1.one", 1)
TWO = Session("two", "10.0.0.2:0/2", "kedge.u.2.two", 2)


def test_clients_come_and_go() -> None:
    sessions = Sessions(MemoryRecords())
    assert sessions.of("u") == []
    sessions.drop("u", [ONE])
    sessions.add("u", ONE)
    sessions.add("u", ONE)
    sessions.add("u", TWO)
    assert sessions.of("u") == [ONE, TWO]
    sessions.drop("u", [ONE])
    assert sessions.of("u") == [TWO]
    sessions.forget("u")
    sessions.forget("u")
    assert sessions.of("u") == []


def test_after_a_later_claim_nobody_of_an_earlier_one_acts() -> None:
    sessions = Sessions(MemoryRecords())
    sessions.take("u", 2)
    with pytest.raises(Fenced):
        sessions.take("u", 1)
    with pytest.raises(Fenced):
        sessions.add("u", ONE)
    sessions.take("u", 2)
    sessions.add("u", TWO)
    sessions.drop("u", [TWO])
    with pytest.raises(Fenced):
        sessions.add("u", ONE)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"format": 2, "epoch": 0, "clients": []}'])
def test_what_cannot_be_read_is_damaged(text: bytes) -> None:
    records = MemoryRecords()
    records.put("sessions/u", text, expected=None)
    with pytest.raises(Damaged, match="sessions/u"):
        Sessions(records).of("u")


def test_all_are_listed_and_only_what_changed_is_read() -> None:
    records = MemoryRecords()
    sessions = Sessions(records)
    assert sessions.all() == {}
    sessions.add("u", ONE)
    sessions.add("v", TWO)
    assert sessions.all() == {"u": [ONE], "v": [TWO]}
    sessions.drop("u", [ONE])
    assert sessions.all() == {"v": [TWO]}
