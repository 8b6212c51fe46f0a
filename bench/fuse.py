"""What the FUSE data path costs: its loop device beside the loop device of a plain image.

    python -m bench.fuse [--json] [--rounds 3] [--seconds 3] [--save] [--only JOB]   (root)

Places, taken in turns so that a busy machine is busy for all of them: a loop device (direct I/O)
on a sparse image on the host, the data path on a device that is such a file, and the data path on
a device in memory. The first is what the kernel can do; the others say what this code adds.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.disk.fuse.path import DataPath
from backends.disk.serve import Config
from backends.errors import KedgeError
from backends.host import loop, mounts
from backends.host.filesystems import FileSystem, driver_of
from bench.machine import described

SIZE = 1 << 30
PLAIN = "plain loop"
_RESULTS = Path(__file__).parent / "results"
_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """One measurement: fio's options, on the bare device or on files of ext4."""

    options: tuple[str, ...]
    unit: str = "IOPS"
    files: bool = False


def _raw(mode: str, size: str, depth: int) -> tuple[str, ...]:
    return (f"--rw={mode}", f"--bs={size}", f"--iodepth={depth}", "--ioengine=libaio", "--direct=1")


def _synced(jobs: int) -> tuple[str, ...]:
    mode = ("--rw=randwrite", "--bs=16k", "--ioengine=psync", "--fdatasync=1", "--size=32M")
    return (*mode, f"--numjobs={jobs}", "--group_reporting", "--overwrite=1")


JOBS: Mapping[str, Job] = {
    "4K random write, QD1": Job(_raw("randwrite", "4k", 1)),
    "4K random write, QD32": Job(_raw("randwrite", "4k", 32)),
    "4K random read, QD1": Job(_raw("randread", "4k", 1)),
    "4K random read, QD32": Job(_raw("randread", "4k", 32)),
    "1M sequential write": Job(_raw("write", "1M", 4), "MiB/s"),
    "1M sequential read": Job(_raw("read", "1M", 4), "MiB/s"),
    "ext4 16K write+fdatasync, 1 job": Job(_synced(1), files=True),
    "ext4 16K write+fdatasync, 16 jobs": Job(_synced(16), files=True),
}


@contextmanager
def _image(home: Path) -> Iterator[Path]:
    """The file below a plain loop device."""
    image = home / "plain.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    yield image


@contextmanager
def _served(home: Path, kind: str) -> Iterator[Path]:
    """The file of a data path on a device of the testing module."""
    path = DataPath(home / kind, f"bench-{kind}")
    arguments = {"size": SIZE, "path": str(home / f"{kind}.img")}
    path.open(Config(f"backends.disk.fuse.testing:{kind}", arguments), _SECONDS)
    try:
        yield path.file
    finally:
        try:
            path.close(_SECONDS)
        except KedgeError:
            path.clear(_SECONDS)
            raise


@contextmanager
def _files(node: Path, place: Path) -> Iterator[Path]:
    """The ext4 file system on a device, mounted."""
    driver = driver_of(FileSystem.EXT4)
    driver.make(node, label="bench")
    place.mkdir(exist_ok=True)
    mounts.mount(node, place, driver.name, options=driver.mount_options)
    try:
        yield place
    finally:
        mounts.unmount(place)
        place.rmdir()  # which also ends copies of the mount in other namespaces


def _fio(job: Job, where: str, seconds: int) -> float:
    command = ["fio", "--name=job", where, "--output-format=json", "--time_based"]
    done = subprocess.run(
        [*command, f"--runtime={seconds}", "--ramp_time=0.3", *job.options],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)["jobs"][0]
    side = found["read" if "read" in job.options[0] else "write"]
    return float(side["bw_bytes"] / 2**20 if job.unit == "MiB/s" else side["iops"])


def measure(rounds: int, seconds: int, only: str) -> dict[str, dict[str, float]]:
    """job -> place -> median over the rounds."""
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        files = {
            PLAIN: stack.enter_context(_image(home)),
            "data path, file": stack.enter_context(_served(home, "file")),
            "data path, memory": stack.enter_context(_served(home, "memory")),
        }
        nodes = {}
        for number, (label, file) in enumerate(files.items()):
            device = loop.attached(file, label=f"bench{number}", block_size=4096)
            nodes[label] = loop.node(stack.enter_context(device).number)
        for name, job in JOBS.items():
            if only not in name:
                continue
            for _ in range(rounds):
                for label, node in nodes.items():
                    found.setdefault(name, {}).setdefault(label, []).append(
                        _once(job, node, home / "mount", seconds)
                    )
    return {
        name: {label: statistics.median(values) for label, values in by_place.items()}
        for name, by_place in found.items()
    }


def _once(job: Job, node: Path, place: Path, seconds: int) -> float:
    if not job.files:
        return _fio(job, f"--filename={node}", seconds)
    with _files(node, place):
        return _fio(job, f"--directory={place}", seconds)


def table(found: dict[str, dict[str, float]]) -> str:
    """The figures, and their ratio to the plain loop device."""
    lines = [", ".join(f"{key} {value}" for key, value in described().items())]
    for name, by_place in found.items():
        lines.append(f"{name} ({JOBS[name].unit})")
        for label, value in by_place.items():
            lines.append(f"  {label:18} {value:10.0f}   {value / by_place[PLAIN]:.2f} of {PLAIN}")
    return "\n".join(lines)


def main() -> None:
    """Print a table, or JSON; `--save` writes both into bench/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.rounds, asked.seconds, asked.only)
    everything = json.dumps({"machine": described(), "jobs": found}, indent=2)
    if asked.save:
        _RESULTS.mkdir(exist_ok=True)
        day = time.strftime("%Y-%m-%d", time.gmtime())
        (_RESULTS / f"{day}-fuse.json").write_text(everything + "\n")
        (_RESULTS / f"{day}-fuse.txt").write_text(table(found) + "\n")
    print(everything if asked.json else table(found))


if __name__ == "__main__":
    main()
