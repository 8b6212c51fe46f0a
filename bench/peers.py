"""What else puts files into a bucket, in one run with kedge, on the same store: speed, and whether
what fsync confirmed outlives the node (which is known from experiments of its own, not from here).

    python -m bench.peers [--rounds 1] [--seconds 3] [--out FILE]      (root; a radosgw of its own)

Not run through yet: there are no results of it.
Needs Debian's rclone, s3fs, s3backer and redis-server; JuiceFS is measured if it is on the PATH.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from bench import data_path, report
from bench.machine import described
from bench.mariadb import transactions_per_second
from bench.peer_places import installed
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
    opened,
)
from bench.s3_places import lab as a_lab

Found = dict[str, dict[str, list[float]]]
_SMALL = "--size=64M"
_TPS = "sysbench oltp_write_only, tps"
FIO: Mapping[str, list[str]] = {
    "4K random write + fsync, IOPS": ["--rw=randwrite", "--bs=4k", "--fsync=1", "--ioengine=psync"],
    "4K random read, warm, IOPS": ["--rw=randread", "--bs=4k", "--direct=1"],
    "1M sequential write + one fsync, MiB/s": ["--rw=write", "--bs=1M", "--end_fsync=1"],
}
SAFE = {
    HOST: "no: it is on one node",
    LOOP: "no: it is on one node",
    LOCAL: "but for the last second",
    STORE: "yes",
}
NO_DATABASE = {"s3fs": "one row a second or two: preparing the tables would take an hour"}


def once(name: str, place: Place, seconds: int) -> float:
    """One measurement."""
    if name == _TPS:
        return transactions_per_second(place.path, 2 * seconds)
    return data_path.fio(place.path, [*FIO[name], _SMALL], seconds)


def measure(made: Lab, rounds: int, seconds: int) -> tuple[Found, dict[str, str]]:
    """job -> place -> what each round gave; place -> whether it is safe."""
    peers = installed(made)
    places: dict[str, Place] = {
        HOST: HostPlace(made.home),
        LOOP: LoopPlace(made.home),
        LOCAL: KedgePlace(made.node("local")),
        STORE: KedgePlace(made.node("store"), durability="store"),
        **peers,
    }
    found: Found = {}
    with opened(places):
        for number in range(rounds):
            for name in (*FIO, _TPS):
                for label, place in places.items():
                    if name == _TPS and label in NO_DATABASE:
                        continue
                    value = once(name, place, seconds)
                    print(f"{number} {name} {label}: {value:.1f}", file=sys.stderr, flush=True)
                    found.setdefault(name, {}).setdefault(label, []).append(value)
    return found, {**SAFE, **{label: peer.safe for label, peer in peers.items()}}


def table(machine: Mapping[str, object], found: Found, safe: Mapping[str, str]) -> str:
    """For people: the ratio is to the plain loop image."""
    lines = [", ".join(f"{key} {value}" for key, value in machine.items())]
    for job, by_place in found.items():
        lines += ["", f"{job:38} {'of loop':>9}  fsync outlives the node?"]
        base = statistics.median(by_place[LOOP])
        for label, values in by_place.items():
            middle = statistics.median(values)
            lines.append(f"  {label:20} {middle:15.1f} {middle / base:9.3f}  {safe[label]}")
    lines += ["", *(f"{name}: no sysbench: {why}" for name, why in NO_DATABASE.items())]
    missing = {"juicefs"} - set(safe)
    return "\n".join([*lines, *(f"{name}: not on this machine" for name in missing), ""])


def plot(found: Found, safe: Mapping[str, str], out: Path) -> None:
    """A bar for each, hatched where fsync keeps no promise about the node."""
    middles = {
        job: {label: statistics.median(values) for label, values in by_place.items()}
        for job, by_place in found.items()
    }
    ratios = {
        job: {label: value / by[LOOP] for label, value in by.items() if label != LOOP}
        for job, by in middles.items()
    }
    unsafe = [label for label, word in safe.items() if word.startswith("no")]
    with report.plotted(out, width=10) as axes:
        report.shares(axes, ratios, hatched=unsafe)
        axes.set_yscale("log")
        axes.set_ylabel("share of the plain loop image (hatched: not safe)")


def main() -> None:
    """Print the table; write it, the figures and the plot to files with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    machine = {**described(), "rounds": asked.rounds, "seconds": asked.seconds}
    with a_lab(moto=False) as made:
        found, safe = measure(made, asked.rounds, asked.seconds)
    text = table(machine, found, safe)
    print(text)
    if asked.out is not None:
        report.keep(
            asked.out, "bench.peers", text, {"machine": machine, "found": found, "safe": safe}
        )
        plot(found, safe, asked.out)


if __name__ == "__main__":
    main()
