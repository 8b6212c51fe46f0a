"""How many requests a disk makes that is written to all the time: each costs money."""

from types import SimpleNamespace
from typing import Any

import pytest

from backends.disk.core.overlay import Changes, Dirty
from backends.disk.core.packing import INLINE_BLOCKS, OBJECT_BLOCKS, plan
from backends.disk.worker import SEAL_BYTES, Worker


def changes(blocks: int) -> Changes:
    return Changes(1, (), {3 * block: Dirty(1, 0, block) for block in range(blocks)})


@pytest.mark.parametrize("mebibytes", [2, 7, 8, 11, 13, 19, 21, 27, 32])
def test_there_is_one_object_for_eight_mebibytes_and_none_is_short(mebibytes: int) -> None:
    planned = plan(changes(256 * mebibytes))
    sizes = [len(part) for part in planned.parts]
    assert sum(sizes) == 256 * mebibytes
    assert len(sizes) == max(1, round(mebibytes / 8))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= OBJECT_BLOCKS * 3 // 2
    assert [block for part in planned.parts for block in part] == sorted(planned.changes.blocks)
    extents = [extent for extent in planned.extents() if extent.source >= 0]
    assert [sum(e.count for e in extents if e.source == n) for n in range(len(sizes))] == sizes


def test_little_travels_in_the_record() -> None:
    planned = plan(changes(INLINE_BLOCKS))
    assert not planned.parts
    assert len(planned.inline) == INLINE_BLOCKS


def due(waiting: int, age: float, *, pressed: int = 0) -> bool:
    """Whether a worker ships what has waited so long, with `rpo` a second."""
    disk: Any = SimpleNamespace(
        dirty_since=100.0,
        pressed=pressed,
        parts=SimpleNamespace(overlay=range(waiting // 4096)),
    )
    now = [0.0]
    worker = Worker(disk, rpo=1.0, clock=lambda: now[0], complain=lambda what, error: None)
    now[0] = 100.0 + age
    return worker._due()


def test_a_record_is_made_once_a_second_or_when_much_waits_or_somebody() -> None:
    assert not due(19 << 20, 0.9)
    assert due(4096, 1.0)
    assert due(SEAL_BYTES, 0.1)
    assert due(4096, 0.1, pressed=1)
