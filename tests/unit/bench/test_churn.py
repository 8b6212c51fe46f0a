"""What the kernel's trace of a device says, and what its replay counts."""

import pytest

from bench.s3_churn import Replay, Write, parsed
from bench.s3_targets import AIMS, PARTS, Aim, table

LINE = "kworker/1 [001] ..... 12.500000: block_rq_complete: 7,0 {} () {} + {} none,0,0 [0]"


def test_only_what_changes_blocks_is_taken_from_a_trace() -> None:
    lines = [
        LINE.format("WS", 80, 16),
        LINE.format("R", 80, 16),
        LINE.format("FF", 0, 0),
        LINE.format("D", 800, 8),
        "CPU:1 [LOST 17 EVENTS]",
    ]
    assert list(parsed(lines)) == [Write(12.5, 10, 2), Write(12.5, 100, 1, gone=True)]


def test_what_nobody_needs_is_not_kept() -> None:
    """Twenty times the same 300 blocks, a second apart."""
    cost = Replay([Write(float(at), 0, 300) for at in range(20)], 0).run()
    assert cost.written == pytest.approx(1, abs=0.05)
    assert cost.kept == pytest.approx(1, abs=0.05)


def test_what_snapshots_need_is_kept() -> None:
    replay = Replay([Write(float(at), 0, 10) for at in range(20)], 3)
    assert replay.run().kept == pytest.approx(1, abs=0.1)
    assert replay.store.kept() == pytest.approx(40 * 4096, rel=0.1)


def test_an_aim_says_what_is_better() -> None:
    assert Aim("", "", 2.0).reached(4.0) == 2.0
    assert Aim("", "", 2.0, most=True).reached(4.0) == 0.5


def test_the_table_has_medians_ratios_and_whether_aims_are_met() -> None:
    aim = AIMS[0]
    figures = {aim.figure: {"host": [1.0, 2.0, 3.0], aim.place: [aim.value, aim.value, 1.0]}}
    shown = table({PARTS[0]: {"machine": {"cpus": 2}, "figures": figures}})
    assert "cpus 2" in shown
    assert f"aim: at least {aim.value:g}, met" in shown
    assert "of host" in shown
