"""A claim or a lease that makes no sense is refused with one sentence, and acted on by nobody."""

import json
from typing import Any

import pytest

from backends.claims import Claims
from backends.errors import Damaged
from backends.leases import Lease, LeaseWatch
from backends.records.memory import MemoryRecords

CLAIM: dict[str, Any] = {
    "format": 1,
    "epoch": 3,
    "node": "a",
    "session": "s",
    "held": True,
    "since": "2026-01-02T03:04:05Z",
    "fence": {"address": "192.0.2.1"},
    "stale": [{"epoch": 2, "node": "b", "session": "t", "fence": {}}],
    "body": "",
}
LEASE: dict[str, Any] = {
    "format": 1,
    "session": "s",
    "counter": 1,
    "ttl": 6.0,
    "ended": False,
    "by": "",
}
NAN, INFINITE = float("nan"), float("inf")


class Two:
    """Node `b` looks at what node `a` may have written; its clock is told the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.records = MemoryRecords()
        watch = LeaseWatch(self.records, lambda: self.now)
        lease = Lease(
            self.records, "b", watch, clock=lambda: self.now, new_session=lambda: "session-b"
        )
        self.claims = Claims(self.records, lease, now=lambda: "now")

    def write(self, key: str, value: object) -> None:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.records.put(key, text, expected=None)


def test_what_is_well_formed_is_read() -> None:
    two = Two()
    two.write("claims/u", CLAIM)
    two.write("nodes/a", LEASE | {"ended": True})
    claim = two.claims.acquire("u", name="db")
    assert claim.epoch == 4
    assert [(one.node, one.epoch) for one in claim.stale] == [("b", 2), ("a", 3)]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"noise",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        CLAIM | {"epoch": "3"},
        CLAIM | {"epoch": True},
        CLAIM | {"epoch": 3.0},
        CLAIM | {"epoch": -1},
        CLAIM | {"epoch": None},
        CLAIM | {"node": 7},
        CLAIM | {"session": None},
        CLAIM | {"held": "no"},
        CLAIM | {"held": 0},
        CLAIM | {"since": []},
        CLAIM | {"body": {}},
        CLAIM | {"fence": "192.0.2.1"},
        CLAIM | {"fence": {"address": 7}},
        CLAIM | {"stale": {}},
        CLAIM | {"stale": ["b"]},
        CLAIM | {"stale": [CLAIM["stale"][0] | {"epoch": "2"}]},
        CLAIM | {"stale": [CLAIM["stale"][0] | {"more": 1}]},
        CLAIM | {"more": 1},
        {key: value for key, value in CLAIM.items() if key != "epoch"},
        {key: value for key, value in CLAIM.items() if key != "format"},
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_damaged_claim_is_refused(value: object) -> None:
    two = Two()
    two.write("claims/u", value)
    before = two.records.get("claims/u")
    with pytest.raises(Damaged, match=r"^claims/u is not a claim: .+") as refused:
        two.claims.acquire("u", name="db", force=True)
    assert "\n" not in refused.value.message
    assert two.records.get("claims/u") == before


@pytest.mark.parametrize(
    "value",
    [
        b"noise",
        b"[1]",
        LEASE | {"session": 7},
        LEASE | {"counter": "1"},
        LEASE | {"ttl": "6"},
        LEASE | {"ttl": NAN},
        LEASE | {"ttl": INFINITE},
        LEASE | {"ttl": 0},
        LEASE | {"ttl": -6.0},
        LEASE | {"ttl": True},
        LEASE | {"ttl": None},
        LEASE | {"ended": "yes"},
        LEASE | {"ended": 1},
        LEASE | {"by": None},
        LEASE | {"more": 1},
        {key: value for key, value in LEASE.items() if key != "ttl"},
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_damaged_lease_takes_nobodys_claim(value: object) -> None:
    two = Two()
    two.write("claims/u", CLAIM)
    two.write("nodes/a", value)
    for _ in range(3):
        with pytest.raises(Damaged, match=r"^nodes/a is not a lease: .+"):
            two.claims.acquire("u", name="db")
        two.now += 100.0
    holder = two.claims.holder("u")
    assert holder is not None
    assert holder.node == "a"


def test_an_operator_gets_past_a_damaged_lease() -> None:
    two = Two()
    two.write("claims/u", CLAIM)
    two.write("nodes/a", b"noise")
    assert two.claims.acquire("u", name="db", force=True).epoch == 4


@pytest.mark.parametrize(("key", "value"), [("claims/u", CLAIM), ("nodes/a", LEASE)])
def test_a_newer_format_says_what_to_do(key: str, value: dict[str, Any]) -> None:
    two = Two()
    two.write("claims/u", CLAIM) if key != "claims/u" else None
    two.write(key, value | {"format": 2, "more": "than we know"})
    with pytest.raises(Damaged, match=f"^{key} was written by a newer version; upgrade this node"):
        two.claims.acquire("u", name="db")
