"""What a disk in a bucket aims at, one figure after the other, and how near it comes.

    python -m bench.s3_targets [--parts device,synced,...] [--rounds 3] [--seconds 3] [--out FILE]

What `bench.s3` measures (RPO, takeover, pauses, memory, cost) is not measured again. The store is a
synthetic one in memory that answers every request after `--latency` ms, so what is seen is the disk
and not the store; beside it, where there is one, is the same on a plain loop image and on the
host's file system, in turns. Run as root. FILE.txt and FILE.json get the results, FILE.png the
plot; a part that is run alone replaces that part of FILE.json, and table and plot are made anew.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import report, s3_churn, s3_jobs
from bench import s3_target_jobs as jobs
from bench.distant_store import DistantStore
from bench.machine import described
from bench.s3_places import LOCAL, STORE, laboratory

PARTS = (*jobs.PARTS, "churn")


@dataclass(frozen=True)
class Aim:
    """Of one figure, in one place. `most`: it should not be more; else not less."""

    figure: str
    place: str
    value: float
    most: bool = False

    def reached(self, value: float) -> float:
        """How much of it: 1 and more is all."""
        return self.value / value if self.most else value / self.value


AIMS = (
    Aim(jobs.RANDOM.format(1), LOCAL, 12_000),
    Aim(jobs.RANDOM.format(32), LOCAL, 25_000),
    Aim(jobs.SYNCED.format("1 job"), LOCAL, 2_500),
    Aim(jobs.SYNCED.format("16 jobs"), LOCAL, 7_000),
    Aim(jobs.LATE.format("1 job"), LOCAL, 3, most=True),
    Aim(jobs.LATE.format("16 jobs"), LOCAL, 3, most=True),
    Aim(jobs.BESIDES, STORE, 5, most=True),
    Aim(jobs.SYSBENCH.format("without"), STORE, 300),
    Aim(jobs.SYSBENCH.format("with"), STORE, 300),
    Aim(jobs.SNAPSHOT, LOCAL, 0.2, most=True),
    Aim(jobs.CLONE, LOCAL, 1, most=True),
    Aim(jobs.MOVE, LOCAL, 1.5, most=True),
    Aim(s3_jobs.STORED, LOCAL, 300),
    Aim(s3_jobs.READ_COLD, LOCAL, 400),
    Aim(jobs.WRITTEN, LOCAL, 1.3, most=True),
    Aim(jobs.KEPT, LOCAL, 1.3, most=True),
)


def churn(seconds: int) -> jobs.Found:
    """Bytes put and kept under a database, without snapshots and with ten."""
    writes = s3_churn.recorded(seconds, rows=100_000)
    found: jobs.Found = {}
    for snapshots, label in ((10, LOCAL), (0, "without snapshots")):
        cost = s3_churn.Replay(writes, snapshots).run()
        found.setdefault(jobs.WRITTEN, {})[label] = [cost.written]
        found.setdefault(jobs.KEPT, {})[label] = [cost.kept]
    return found


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for: their machine, and what -> place -> rounds."""
    found: dict[str, Any] = {}
    for part in asked.parts.split(","):
        machine = described() | {"rounds": asked.rounds, "seconds": asked.seconds}
        if part == "churn":
            figures = churn(asked.churn)
        else:
            with laboratory(DistantStore(asked.latency / 1000)) as made:
                figures = jobs.PARTS[part](made, asked.rounds, asked.seconds)
            machine["store"] = f"answers after {asked.latency:g} ms"
        found[part] = {"machine": machine, "figures": figures}
    return found


def table(found: Mapping[str, Any]) -> str:
    """For people: medians, their ratio to the other places, and what is aimed at."""
    lines = []
    for part, one in found.items():
        shown = ", ".join(f"{key} {value}" for key, value in one["machine"].items())
        lines.append(f"\n{part}: {shown}")
        for figure, by_place in one["figures"].items():
            lines.append(figure)
            for label, values in by_place.items():
                span = f"{min(values):.4g}..{max(values):.4g}"
                said = "  ".join([*_beside(by_place, label), *_judged(figure, label, values)])
                lines.append(f"  {label:18} {statistics.median(values):10.4g}  {span:>18}  {said}")
    return "\n".join(lines)


def _beside(by_place: Mapping[str, list[float]], label: str) -> list[str]:
    others = [other for other in by_place if other in jobs.PLAIN and other != label]
    return [f"{report.ratio(by_place, label, other):.2f} of {other}" for other in others]


def _judged(figure: str, label: str, values: list[float]) -> list[str]:
    return [
        f"aim: {'at most' if aim.most else 'at least'} {aim.value:g}, "
        f"{'met' if aim.reached(statistics.median(values)) >= 1 else 'not met'}"
        for aim in AIMS
        if (aim.figure, aim.place) == (figure, label)
    ]


def plot(found: Mapping[str, Any], out: Path) -> None:
    """A bar for each aim: how much of it was reached, and by the plain loop on this machine."""
    figures = {name: by for one in found.values() for name, by in one["figures"].items()}
    reached: dict[str, dict[str, float]] = {}
    for aim in AIMS:
        by_place = figures.get(aim.figure, {})
        for label in (aim.place, *jobs.LOOPS):
            if label in by_place:
                value = aim.reached(statistics.median(by_place[label]))
                name = "kedge" if label == aim.place else "plain loop image"
                reached.setdefault(aim.figure, {})[name] = value
    with report.plotted(out, width=20, height=6) as axes:
        report.shares(axes, reached)
        axes.set_yscale("log")
        axes.set_ylabel("share of the aim (1.0: met)")
        axes.tick_params(axis="x", labelrotation=30)


def main() -> None:
    """Print the table; write it, the figures and the plot to files with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=30.0, help="of the store, in ms")
    parser.add_argument("--churn", type=int, default=60, help="seconds of the database")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = measure(asked)
    if asked.out is not None and asked.out.with_suffix(".json").exists():
        found = json.loads(asked.out.with_suffix(".json").read_text()) | found
    text = table(found)
    print(text)
    if asked.out is not None:
        report.keep(asked.out, "bench.s3_targets", text, found)
        plot(found, asked.out)


if __name__ == "__main__":
    main()
