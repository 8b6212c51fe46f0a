"""A head whose fields are not what they must be is refused, and nothing is opened by it."""

import json
from typing import Any

import pytest

from backends.disk.core.head import Head, Pin
from backends.errors import Damaged
from backends.records import Record

GOOD = Head("u", 4096, epoch=7, pins={"monday": Pin(3, "manifest-3", 4096)})


def record(**changes: object) -> Record:
    """The good head with some fields changed."""
    fields: dict[str, Any] = json.loads(GOOD.encode())
    return Record("disks/u", json.dumps(fields | changes).encode(), "v")


def test_what_is_well_formed_is_read() -> None:
    assert Head.decode(record()) == GOOD


@pytest.mark.parametrize(
    "changes",
    [
        {"size": "4096"},
        {"size": -1},
        {"size": True},
        {"size": 4096.5},
        {"epoch": "7"},
        {"epoch": None},
        {"node": 1},
        {"ready": "no"},
        {"state": "gone"},
        {"checkpoint": None},
        {"boundary": []},
        {"pins": []},
        {"pins": {"monday": 3}},
        {"pins": {"monday": {"seq": "3", "manifest": "m", "size": 1}}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_head_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Damaged, match=r"^disks/u is not the head of a disk: .+"):
        Head.decode(record(**changes))
