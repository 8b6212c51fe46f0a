"""How long Docker waits: Get, Mount, Unmount and List with 1, 100 and 10,000 volumes, and
`docker volume ls` of a real engine.

The named alternative for Mount and Unmount is the same bind mount made by mount(8) and umount(8).
Run as root: python -m bench.latency [--volumes 1,100,10000] [--out bench/results/DATE-latency]
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import report
from bench.machine import described
from bench.service import Service, call, running
from tests.lab.node import SocketNode

ROUNDS = 200
SOCKET = "/run/docker/plugins/kedge.sock"


@dataclass(frozen=True)
class Row:
    """Milliseconds, and the service's memory in MiB."""

    volumes: int
    get_p50: float
    get_p99: float
    mount_p50: float
    mount_p99: float
    unmount_p50: float
    unmount_p99: float
    mount_by_hand_p50: float
    unmount_by_hand_p50: float
    list_p50: float
    docker_ls_p50: float
    memory: float


def measure(volumes: int, home: Path) -> Row:
    """One row: a fresh service with that many volumes of layout `directory`."""
    with running(home) as service:
        for number in range(volumes):
            service.call("VolumeDriver.Create", Name=f"v{number:05}", Opts=None)
        names = [f"v{(number * 7919) % volumes:05}" for number in range(ROUNDS)]
        get = [_timed(lambda n=name: service.call("VolumeDriver.Get", Name=n)) for name in names]  # type: ignore[misc]
        cycles = [_cycle(service, name) for name in names]
        by_hand = [_by_hand(home, name) for name in names[:50]]
        listed = [_timed(lambda: service.call("VolumeDriver.List")) for _ in range(10)]
        memory = service.memory() / 2**20
    return Row(
        volumes,
        statistics.median(get),
        _p99(get),
        statistics.median(mount for mount, _ in cycles),
        _p99([mount for mount, _ in cycles]),
        statistics.median(unmount for _, unmount in cycles),
        _p99([unmount for _, unmount in cycles]),
        statistics.median(mount for mount, _ in by_hand),
        statistics.median(unmount for _, unmount in by_hand),
        statistics.median(listed),
        docker_ls(volumes),
        memory,
    )


def docker_ls(volumes: int) -> float:
    """`docker volume ls -q` of an engine with that many volumes, the client's start included."""
    node = SocketNode("bench")
    try:
        node.engine.start()
        node.install()
        place = node.engine.box.path(SOCKET)
        for number in range(volumes):
            call(place, "VolumeDriver.Create", Name=f"v{number:05}", Opts=None)
        assert node.docker("volume", "ls", "-q").count("\n") == volumes - 1
        return statistics.median(_timed(lambda: node.docker("volume", "ls", "-q")) for _ in "12345")
    finally:
        node.close()


def _cycle(service: Service, name: str) -> tuple[float, float]:
    return _timed(lambda: service.mount(name)), _timed(lambda: service.unmount(name))


def _by_hand(home: Path, name: str) -> tuple[float, float]:
    source, target = home / "by-hand" / name, home / "by-hand-target"
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    mount = ["mount", "--bind", str(source), str(target)]
    return (
        _timed(lambda: subprocess.run(mount, check=True)),
        _timed(lambda: subprocess.run(["umount", str(target)], check=True)),
    )


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def table(rows: list[Row]) -> str:
    """For people."""
    lines = ["milliseconds             " + "".join(f"{row.volumes:>10,}" for row in rows)]
    for name in list(asdict(rows[0]))[1:-1]:
        values = "".join(f"{getattr(row, name):10.2f}" for row in rows)
        lines.append(f"{name.replace('_', ' '):25}{values}")
    lines.append("memory, MiB              " + "".join(f"{row.memory:10.1f}" for row in rows))
    return "\n".join(lines)


def plot(rows: list[Row], out: Path) -> None:
    """Latency over the number of volumes, both on logarithmic scales."""
    counts = [row.volumes for row in rows]
    with report.plotted(out) as axes:
        for name in list(asdict(rows[0]))[1:-1]:
            style = ":" if "hand" in name else "--" if name.endswith("p99") else "-"
            label = name.replace("_", " ")
            axes.plot(counts, [getattr(row, name) for row in rows], style, marker="o", label=label)
        report.over_volumes(axes, "milliseconds")


def main() -> None:
    """Print a table; with --out also write it, the figures as JSON, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", default="1,100,10000")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    machine, rows = described(), []
    for count in map(int, asked.volumes.split(",")):
        home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
        rows.append(measure(count, home))
        shutil.rmtree(home)
    text = f"{machine}\n\n{table(rows)}"
    print(text)
    if asked.out:
        figures = {"machine": machine, "rows": [asdict(row) for row in rows]}
        report.keep(asked.out, "bench.latency", text, figures)
        plot(rows, asked.out)


if __name__ == "__main__":
    main()
