"""How long Docker waits: Get, Mount + Unmount and List with 1, 100 and 10,000 volumes.

The named alternative for Mount is the same bind mount made by mount(8) and umount(8) by hand.
Run as root: python -m bench.latency [--json] [--volumes 1,100,10000]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.service import Service, running

ROUNDS = 200


@dataclass(frozen=True)
class Row:
    """Milliseconds, and the service's memory in MiB."""

    volumes: int
    get_p50: float
    get_p99: float
    mount_p50: float
    mount_p99: float
    by_hand_p50: float
    list_p50: float
    memory: float


def measure(volumes: int, home: Path) -> Row:
    """One row: a fresh service with that many volumes of layout `directory`."""
    with running(home) as service:
        for number in range(volumes):
            service.call("VolumeDriver.Create", Name=f"v{number:05}", Opts=None)
        names = [f"v{(number * 7919) % volumes:05}" for number in range(ROUNDS)]
        get = _timed(names, lambda name: service.call("VolumeDriver.Get", Name=name))
        mount = _timed(names, lambda name: _cycle(service, name))
        by_hand = _timed(names[:50], lambda name: _by_hand(home, name))
        listed = _timed(names[:10], lambda name: service.call("VolumeDriver.List"))
        return Row(
            volumes,
            statistics.median(get),
            _p99(get),
            statistics.median(mount),
            _p99(mount),
            statistics.median(by_hand),
            statistics.median(listed),
            service.memory() / 2**20,
        )


def _cycle(service: Service, name: str) -> None:
    service.mount(name)
    service.unmount(name)


def _by_hand(home: Path, name: str) -> None:
    source, target = home / "by-hand" / name, home / "by-hand-target"
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    subprocess.run(["umount", str(target)], check=True)


def _timed(names: list[str], work: Callable[[str], object]) -> list[float]:
    found = []
    for name in names:
        start = time.perf_counter()
        work(name)
        found.append((time.perf_counter() - start) * 1000)
    return found


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> None:
    """Print a table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--volumes", default="1,100,10000")
    asked = parser.parse_args()
    rows = []
    for count in map(int, asked.volumes.split(",")):
        home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
        rows.append(measure(count, home))
        shutil.rmtree(home)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("volumes  Get p50/p99 ms  Mount+Unmount p50/p99 ms  by hand  List ms  memory MiB")
    for row in rows:
        print(
            f"{row.volumes:7}  {row.get_p50:6.2f} {row.get_p99:6.2f}   "
            f"{row.mount_p50:10.2f} {row.mount_p99:10.2f}    {row.by_hand_p50:6.2f}  "
            f"{row.list_p50:7.1f}  {row.memory:8.1f}"
        )


if __name__ == "__main__":
    main()
