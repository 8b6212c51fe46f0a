"""What kedge costs on GlusterFS: fio and sysbench beside a mount made by hand.

A pool of three nodes (replica 3) on this machine; four places in turns: `mount -t glusterfs` by
hand, a kedge volume of layout `directory`, an ext4 image on the mount by hand through a loop device
(with direct I/O, as kedge makes it), a kedge volume of layout `image`. Then the seconds of a mount,
of a move from one node's service to another's, and of a takeover from a node that died.
Run as root: python -m bench.gluster [--out FILE] [--rounds N] [--sysbench] ...
"""

import argparse
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine, report
from bench.data_path import JOBS, fio
from bench.mariadb import transactions_per_second
from bench.service import Service, running
from tests.gluster.conftest import clean
from tests.lab.gluster import Pool

SIZE = "3G"
PAIRS = {"kedge directory": "mount by hand", "kedge image": "loop by hand"}
_PROFILE = """
[profiles.pool]
backend = "gluster"
servers = "{servers}"
volume = "r3"
"""


@contextmanager
def places(home: Path, pool: Pool) -> Iterator[tuple[Service, dict[str, Path]]]:
    """The service, and the four directories to compare."""
    plain, image = home / "by-hand", home / "loop-by-hand"
    plain.mkdir(parents=True)
    image.mkdir()
    server = pool.addresses[0]
    subprocess.run(["mount", "-t", "glusterfs", f"{server}:/r3", str(plain)], check=True)
    try:
        file = plain / "hand.img"
        subprocess.run(["truncate", "-s", SIZE, str(file)], check=True)
        subprocess.run(["mkfs.ext4", "-q", str(file)], check=True)
        made = subprocess.run(
            ["losetup", "-f", "--show", "--direct-io=on", str(file)],
            check=True,
            capture_output=True,
            text=True,
        )
        device = made.stdout.strip()
        subprocess.run(["mount", device, str(image)], check=True)
        try:
            with running(home / "kedge", _PROFILE.format(servers=",".join(pool.addresses))) as ours:
                yield ours, {"mount by hand": plain, "loop by hand": image} | _volumes(ours)
                for name in ("directory", "image"):
                    ours.unmount(name)
                    ours.call("VolumeDriver.Remove", Name=name)
        finally:
            subprocess.run(["umount", str(image)], check=True)
            subprocess.run(["losetup", "-d", device], check=True)
    finally:
        clean(home)


def _volumes(service: Service) -> dict[str, Path]:
    service.call("VolumeDriver.Create", Name="directory", Opts=None)
    service.call("VolumeDriver.Create", Name="image", Opts={"size": SIZE})
    return {f"kedge {name}": service.mount(name) for name in ("directory", "image")}


def moving(home: Path, pool: Pool, rounds: int) -> dict[str, float]:
    """Medians, in seconds: Mount, Unmount and Mount elsewhere, Mount of what a dead node had (its
    lease of 6 s is part of that)."""
    took: dict[str, list[float]] = {"mount": [], "move": [], "take over": []}

    def timed(what: str, act: Callable[[], object]) -> None:
        begun = time.monotonic()
        act()
        took[what].append(time.monotonic() - begun)

    settings = _PROFILE.format(servers=",".join(pool.addresses))
    with running(home / "a", f'node = "a"\n{settings}') as a:
        a.call("VolumeDriver.Create", Name="v", Opts={"size": "64M"})
        with running(home / "b", f'node = "b"\n{settings}') as b:

            def move() -> None:
                a.unmount("v")
                b.mount("v")

            for _ in range(rounds):
                timed("mount", lambda: a.mount("v"))
                timed("move", move)
                b.unmount("v")
            a.mount("v")
            a.process.send_signal(signal.SIGKILL)  # its worker follows it
            timed("take over", lambda: b.mount("v"))
            b.unmount("v")
            b.call("VolumeDriver.Remove", Name="v")
    return {what: statistics.median(values) for what, values in took.items()}


def measure(rounds: int, seconds: int, sysbench: bool) -> dict[str, dict[str, float]]:
    """job -> place -> median over the rounds."""
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    jobs: dict[str, Callable[[Path], float]] = {
        name: (lambda place, options=options: fio(place, options, seconds))  # type: ignore[misc]
        for name, options in JOBS.items()
    }
    if sysbench:
        jobs["sysbench oltp_write_only tps"] = lambda place: transactions_per_second(place, seconds)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in jobs}
    pool = Pool()
    try:
        pool.volume("r3")
        with places(home, pool) as (_, where):
            for _ in range(rounds):
                for name, work in jobs.items():
                    for label, place in where.items():
                        found[name].setdefault(label, []).append(work(place))
        moves = moving(home / "moving", pool, rounds)
    finally:
        clean(home)
        pool.close()
        shutil.rmtree(home, ignore_errors=True)
    table = {
        name: {label: statistics.median(values) for label, values in by_place.items()}
        for name, by_place in found.items()
    }
    return {**table, "seconds": moves}


def table(found: dict[str, dict[str, float]]) -> str:
    """Medians, and their ratios to what was made by hand."""
    lines = []
    for job, by_place in found.items():
        lines.append(job)
        for label, value in by_place.items():
            base = by_place.get(PAIRS.get(label, label), value)
            ratio = "" if job == "seconds" else f"{value / base:.2f}"
            lines.append(f"  {label:16} {value:10.2f}   {ratio}")
    return "\n".join(lines)


def plot(found: dict[str, dict[str, float]], out: Path) -> None:
    """The ratios to what was made by hand, as bars."""
    ratios = {
        job: {f"{ours} / {hand}": by[ours] / by[hand] for ours, hand in PAIRS.items()}
        for job, by in found.items()
        if job != "seconds"
    }
    with report.plotted(out) as axes:
        report.shares(axes, ratios)
        axes.set_ylabel("ratio (1.0: kedge adds nothing)")


def main() -> None:
    """Print a table with ratios to what was made by hand; with --out also keep it, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--sysbench", action="store_true")
    asked = parser.parse_args()
    where = machine.described()
    found = measure(asked.rounds, asked.seconds, asked.sysbench)
    head = ", ".join(f"{key} {value}" for key, value in where.items())
    text = f"{head}\n\n{table(found)}"
    print(text)
    if asked.out:
        report.keep(asked.out, "bench.gluster", text, {"machine": where, "found": found})
        plot(found, asked.out)


if __name__ == "__main__":
    main()
