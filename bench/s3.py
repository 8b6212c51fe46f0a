"""How fast a volume in a bucket is, beside the host's disk and a plain image, and what it costs.

All places in one run, taken in turns so that a busy machine is busy for all: a directory on the
host's ext4, ext4 in a plain image on a loop device, a kedge volume with durability=local, and one
with durability=store, on a radosgw with one OSD on the same machine and the same disk. The store
therefore takes processor time and disk from the volumes that use it, and answers sooner than one
that is far away: see `busy: processors used`. Ratios are medians of the ratios of single rounds.

    python -m bench.s3 [--rounds 3] [--seconds 3] [--parts jobs,events,idle] [--moto] [--out FILE]

Run as root. FILE.txt and FILE.json get the results, FILE.png the plot. A part that is run alone
replaces that part of FILE.json, and table and plot are made anew.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import report, s3_events
from bench.machine import described
from bench.s3_cost import PRICES
from bench.s3_jobs import JOBS, STORED, SYNCED, SYSBENCH, WRITE
from bench.s3_places import (
    HOST,
    LOCAL,
    LOOP,
    STORE,
    HostPlace,
    KedgePlace,
    Lab,
    LoopPlace,
    Place,
    lab,
    opened,
)

Found = dict[str, dict[str, list[float]]]
IN_STORE = (SYNCED, WRITE, SYSBENCH)
"""What durability=store changes."""


def jobs(made: Lab, rounds: int, seconds: int, only: str = "") -> Found:
    """job -> place -> what each round gave."""
    found: Found = {}
    places: dict[str, Place] = {
        HOST: HostPlace(made.home),
        LOOP: LoopPlace(made.home),
        LOCAL: KedgePlace(made.node("local")),
        STORE: KedgePlace(made.node("store"), durability="store"),
    }
    with opened(places):
        for number in range(rounds):
            for name, job in JOBS.items():
                if only not in name:
                    continue
                for label, place in places.items():
                    if label == STORE and (name not in IN_STORE or number):
                        continue
                    value = job(place, seconds)
                    print(f"{number} {name} {label}: {value:.1f}", file=sys.stderr, flush=True)
                    found.setdefault(name, {}).setdefault(label, []).append(value)
    return found


def events(made: Lab, seconds: int, kills: int, gib: int) -> dict[str, dict[str, float]]:
    """Everything that is no job."""
    found: dict[str, dict[str, float]] = {}
    place = KedgePlace(made.node("events"))
    with opened({LOCAL: place}):
        found |= s3_events.crashes(place, kills)
        found |= s3_events.busy(made, place, 2 * seconds)
        found |= s3_events.lags(place, 3 * seconds)
    found |= s3_events.takeovers(made, max(2, kills // 3))
    found |= s3_events.memory(made, gib)
    return found


def ratio(by_place: Mapping[str, list[float]], label: str, other: str) -> float:
    """The median over the rounds that both have."""
    pairs = zip(by_place[label], by_place[other], strict=False)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = []
    for part, machine in found["machine"].items():
        lines.append(f"{part}: {', '.join(f'{key} {value}' for key, value in machine.items())}")
    lines.append("")
    for job, by_place in found.get("jobs", {}).items():
        lines.append(job)
        for label, values in by_place.items():
            shown = [f"{ratio(by_place, label, other):6.2f} of {other}" for other in (HOST, LOOP)]
            rounds = f"{min(values):.0f}..{max(values):.0f}"
            middle = statistics.median(values)
            lines.append(f"  {label:14} {middle:10.1f}  {rounds:>16}  {'  '.join(shown)}")
    for part in ("events", "idle"):
        for name, figures in found.get(part, {}).items():
            texts = (f"{key} {value:.4g}" for key, value in sorted(figures.items()))
            lines.append(f"{name}\n  {'  '.join(texts)}")
    return "\n".join([*lines, "", f"Prices: {PRICES}.", ""])


def plot(found: Mapping[str, Any], out: Path) -> None:
    """A bar for each job and place: the ratio to the plain loop image, on a logarithmic scale."""
    jobs = {name: by_place for name, by_place in found["jobs"].items() if name != STORED}
    ratios = {
        name: {
            label: ratio(by_place, label, LOOP)
            for label in (HOST, LOCAL, STORE)
            if label in by_place
        }
        for name, by_place in jobs.items()
    }
    with report.plotted(out, width=10) as axes:
        report.shares(axes, ratios)
        axes.set_yscale("log")
        axes.set_ylabel("share of the plain loop image (1.0: as fast)")


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for."""
    found: dict[str, Any] = {}
    machine = described()
    with lab(asked.moto) as made:
        if "jobs" in asked.parts:
            found["jobs"] = jobs(made, asked.rounds, asked.seconds, asked.only)
        if "events" in asked.parts:
            found["events"] = events(made, asked.seconds, asked.kills, asked.gib)
        if "idle" in asked.parts:
            found["idle"] = s3_events.idle(made, asked.idle)
    machine["rounds"], machine["seconds"] = asked.rounds, asked.seconds
    machine["store"] = "moto" if asked.moto else "radosgw, one OSD, same machine"
    return {"machine": dict.fromkeys(found, machine), **found}


def beside(earlier: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Parts that were measured now, and those of before."""
    machine = {**earlier["machine"], **found["machine"]}
    return {**earlier, **found, "machine": machine}


def main() -> None:
    """Print the table; write it, the figures and the plot to files with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--gib", type=int, default=16, help="that are touched for memory")
    parser.add_argument("--idle", type=int, default=60, help="seconds of doing nothing")
    parser.add_argument("--parts", default="jobs,events,idle")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    parser.add_argument("--moto", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = measure(asked)
    if asked.out is not None and asked.out.with_suffix(".json").exists():
        found = beside(json.loads(asked.out.with_suffix(".json").read_text()), found)
    text = table(found)
    print(text)
    if asked.out is not None:
        report.keep(asked.out, "bench.s3", text, found)
        if "jobs" in found:
            plot(found, asked.out)


if __name__ == "__main__":
    main()
