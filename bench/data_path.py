"""What a volume costs a database: fio and sysbench on MariaDB, beside the plain host directory.

Six places in one run, taken in turns so that a busy machine is busy for all of them: a host
directory; an ext4 image on a loop device made by hand, buffered as `mount -o loop` makes it, and
with direct I/O; kedge volumes of layout `directory`, and of layout `image` with ext4 and with xfs.
Run as root: python -m bench.data_path [--rounds 3] [--seconds 8] [--sysbench] [--out FILE]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from backends.host import mountinfo
from bench import report
from bench.machine import described
from bench.mariadb import transactions_per_second
from bench.service import running

SIZE = "3G"
Found = dict[str, dict[str, list[float]]]
JOBS = {
    "4k write+fsync IOPS": ["--rw=randwrite", "--bs=4k", "--fsync=1", "--ioengine=psync"],
    "16k write+fdatasync x4 IOPS": [
        "--rw=randwrite",
        "--bs=16k",
        "--fdatasync=1",
        "--ioengine=psync",
        "--numjobs=4",
        "--group_reporting",
    ],
    "4k random read O_DIRECT IOPS": ["--rw=randread", "--bs=4k", "--direct=1"],
    "1M write, one fsync MiB/s": ["--rw=write", "--bs=1M", "--end_fsync=1"],
}


VOLUMES = {
    "kedge directory": {},
    "kedge image": {"size": SIZE},
    "kedge image, xfs": {"size": SIZE, "fs": "xfs"},
}
BY_HAND = {"loop by hand": "off", "loop by hand, direct": "on"}
"""The loop device's direct I/O."""


@contextmanager
def loop_by_hand(image: Path, direct: str, place: Path | None = None) -> Iterator[Path]:
    """An ext4 on a loop device, with no more thought than the manual asks for. `direct`: what
    losetup is told. `later`: to switch it on for a device that is there, which does not open the
    file with O_DIRECT."""
    place = place or image.with_suffix("")
    place.mkdir()
    subprocess.run(["truncate", "-s", SIZE, str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    asked = [] if direct == "later" else [f"--direct-io={direct}"]
    attach = ["losetup", *asked, "--show", "-f", str(image)]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    if direct == "later":
        subprocess.run(["losetup", "--direct-io=on", device], check=True)
    subprocess.run(["mount", device, str(place)], check=True)
    subprocess.run(["losetup", "-d", device], check=True)  # once it is unmounted
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def places(home: Path) -> Iterator[dict[str, Path]]:
    """The directories to compare."""
    host = home / "host"
    host.mkdir(parents=True)
    with ExitStack() as stack:
        service = stack.enter_context(running(home / "kedge"))
        by_hand = {
            label: stack.enter_context(loop_by_hand(home / f"hand-{direct}.img", direct))
            for label, direct in BY_HAND.items()
        }
        try:
            for label, options in VOLUMES.items():
                service.call("VolumeDriver.Create", Name=_name(label), Opts=options)
            volumes = {label: service.mount(_name(label)) for label in VOLUMES}
            yield {"host": host, **by_hand, **volumes}
        finally:
            for label in VOLUMES:
                service.unmount(_name(label))
                with suppress(RuntimeError):  # a container started meanwhile may have a copy
                    service.call("VolumeDriver.Remove", Name=_name(label))
            for mount in reversed(mountinfo.read()):
                if mount.point.startswith(f"{home}/kedge/"):
                    subprocess.run(["umount", "-l", mount.point], check=True)


def _name(label: str) -> str:
    return label.replace(", ", "-").replace(" ", "-")


def fio(place: Path, options: list[str], seconds: int) -> float:
    """IOPS, or MiB/s of a sequential job."""
    command = ["fio", "--name=job", f"--directory={place}", "--size=256M", "--output-format=json"]
    timed = [] if "--end_fsync=1" in options else ["--time_based", f"--runtime={seconds}"]
    done = subprocess.run([*command, *timed, *options], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"fio in {place}: {done.stderr or done.stdout}")
    job = json.loads(done.stdout)["jobs"][0]
    side = job["read"] if "--rw=randread" in options else job["write"]
    for file in place.glob("job.*"):
        file.unlink()
    return float(side["bw_bytes"] / 2**20 if "--bs=1M" in options else side["iops"])


def measure(rounds: int, seconds: int, sysbench: bool) -> Found:
    """job -> place -> what each round gave. Every other round and job goes through the places
    backwards: whoever comes after a writer may have to wait for its disk."""
    jobs: dict[str, Callable[[Path], float]] = {
        name: (lambda place, options=options: fio(place, options, seconds))  # type: ignore[misc]
        for name, options in JOBS.items()
    }
    if sysbench:
        jobs["sysbench oltp_write_only tps"] = lambda place: transactions_per_second(place, seconds)
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    found: Found = {}
    with places(home) as where:
        for number in range(rounds):
            for turn, (name, work) in enumerate(jobs.items(), number):
                by_place = found.setdefault(name, {label: [] for label in where})
                for label in list(where) if turn % 2 else reversed(where):
                    by_place[label].append(work(where[label]))
    shutil.rmtree(home)
    return found


def table(found: Found) -> str:
    """Rates, and their ratios to the host directory and to the loops made by hand."""
    lines = []
    for job, by_place in found.items():
        lines.append(job)
        for label, values in by_place.items():
            others = ("host", *BY_HAND)
            ratios = [f"{report.ratio(by_place, label, other):6.2f} of {other}" for other in others]
            lines.append(f"  {label:20} {statistics.median(values):10.0f} {'  '.join(ratios)}")
    return "\n".join(lines)


def plot(found: Found, out: Path) -> None:
    """Bars: every place as a share of the host directory, by job."""
    ratios = {
        job: {label: report.ratio(by_place, label, "host") for label in by_place}
        for job, by_place in found.items()
    }
    with report.plotted(out, width=9) as axes:
        report.shares(axes, ratios)
        axes.set_ylabel("share of the host directory")


def main() -> None:
    """Print a table with ratios; with --out also write it, the figures as JSON, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--sysbench", action="store_true")
    asked = parser.parse_args()
    machine = described()
    found = measure(asked.rounds, asked.seconds, asked.sysbench)
    text = f"{machine}\n\n{table(found)}"
    print(text)
    if asked.out:
        command = f"bench.data_path --rounds {asked.rounds} --seconds {asked.seconds}"
        command += " --sysbench" if asked.sysbench else ""
        report.keep(asked.out, command, text, {"machine": machine, "found": found})
        plot(found, asked.out)


if __name__ == "__main__":
    main()
