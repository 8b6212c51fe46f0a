"""What a run of failures showed, as a table."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Round:
    """`seconds`: from the failure to the first row that another node confirmed; of a database that
    stays, its longest pause."""

    failure: str
    seconds: float
    lost: int


def table(rounds: list[Round], confirmed: int, seed: int) -> str:
    """Rounds, rows lost and time to move, of each failure."""
    load = Path("/proc/loadavg").read_text().split()[0]
    lines = [
        f"\n{len(rounds)} rounds, {confirmed} rows confirmed, {sum(one.lost for one in rounds)} "
        f"lost, seed {seed} ({os.cpu_count()} cores, load {load})",
        "failure             rounds   lost   seconds: median    p99  worst",
    ]
    for failure in sorted({one.failure for one in rounds}):
        of = [one for one in rounds if one.failure == failure]
        seconds = [one.seconds for one in of]
        lost = sum(one.lost for one in of)
        lines.append(
            f"{failure:19} {len(of):6} {lost:6} {statistics.median(seconds):17.1f} "
            f"{percentile(seconds, 99):6.1f} {max(seconds):6.1f}"
        )
    return "\n".join(lines) + "\n"


def percentile(values: list[float], of: int) -> float:
    """The smallest value that at least so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * of // 100) - 1)]
