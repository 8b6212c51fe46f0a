"""What a synchronous write costs on an image on a loop device, by the knobs there are.

Each variant is a file of its own with a file system on a loop device, measured in turns with the
plain directory beside it. docs/decisions/0004-loop-images.md draws the conclusions.
Run as root: python -m bench.loop_images [--rounds 3] [--seconds 4] [--only NAME,...]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.host import loop
from bench.data_path import JOBS, fio
from bench.machine import described

SIZE = 1280 << 20
MEASURED = {
    "4k write+fsync IOPS": JOBS["4k write+fsync IOPS"],
    "16k write+fdatasync x4 IOPS": JOBS["16k write+fdatasync x4 IOPS"],
    "4k overwrite+fdatasync IOPS": [
        *("--rw=randwrite", "--bs=4k", "--fdatasync=1", "--ioengine=psync"),
        *("--overwrite=1", "--size=64M"),
    ],
}


@dataclass(frozen=True)
class Variant:
    """How an image is made, attached and mounted."""

    direct: bool = True
    filled: str = ""
    """`allocated`: fallocate; `written`: zeros are written over the whole file."""
    make: tuple[str, ...] = ("mkfs.ext4", "-q", "-F", "-b", "4096")
    mount: str = ""
    sector: int = 0
    """Of the loop device; 0: the kernel's choice."""


XFS = ("mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096")
FAST = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "fast_commit")
KEDGE = (
    *("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0"),
    *("-E", "nodiscard,assume_storage_prezeroed=1"),
)
JOURNAL = (*KEDGE[:-1], "nodiscard,lazy_itable_init=1,lazy_journal_init=0")
VARIANTS = {
    "buffered sparse ext4 (mount -o loop)": Variant(direct=False),
    "direct sparse ext4": Variant(),
    "direct sparse ext4 as kedge makes it": Variant(make=KEDGE),
    "direct sparse ext4, journal written": Variant(make=JOURNAL),
    "direct allocated ext4": Variant(filled="allocated"),
    "direct written ext4": Variant(filled="written"),
    "direct sparse ext4, sectors of 4096": Variant(sector=4096),
    "direct sparse ext4 fast_commit": Variant(make=FAST),
    "direct written ext4 fast_commit": Variant(filled="written", make=FAST),
    "buffered written ext4": Variant(direct=False, filled="written"),
    "direct sparse xfs": Variant(make=XFS, sector=0),
    "direct written xfs": Variant(make=XFS, filled="written"),
}


@contextmanager
def mounted(home: Path, number: int, variant: Variant) -> Iterator[Path]:
    """The directory of a variant's file system."""
    image, place = home / f"{number}.img", home / f"{number}"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
        if variant.filled:
            os.posix_fallocate(file.fileno(), 0, SIZE)
        if variant.filled == "written":
            for _ in range(SIZE >> 20):
                file.write(bytes(1 << 20))
            os.fsync(file.fileno())
    subprocess.run([*variant.make, str(image)], check=True)
    with loop.attached(
        image, label="bench", direct=variant.direct, block_size=variant.sector
    ) as device:
        options = ["-o", variant.mount] if variant.mount else []
        node = str(loop.node(device.number))
        subprocess.run(["mount", *options, node, str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()


def measure(names: list[str], rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    """job -> variant -> median of its ratios to the host directory, measured beside it."""
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-", dir="/var/tmp"))
    host = home / "host"
    host.mkdir()
    found: dict[str, dict[str, list[float]]] = {job: {} for job in MEASURED}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        places = {
            name: stack.enter_context(mounted(home, number, VARIANTS[name]))
            for number, name in enumerate(names)
        }
        for _ in range(rounds):
            for job in MEASURED:
                plain = fio(host, MEASURED[job], seconds)
                found[job].setdefault("host directory, IOPS", []).append(plain)
                for name, place in places.items():
                    rate = fio(place, MEASURED[job], seconds) / plain
                    found[job].setdefault(name, []).append(rate)
    return {
        job: {name: statistics.median(values) for name, values in by_name.items()}
        for job, by_name in found.items()
    }


def main() -> None:
    """Print a table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    names = [name for name in VARIANTS if not asked.only or name in asked.only.split(",")]
    found = measure(names, asked.rounds, asked.seconds)
    if asked.json:
        print(json.dumps({"machine": described(), "found": found}, indent=2))
        return
    print(described())
    for job, by_name in found.items():
        print(job)
        for name, value in by_name.items():
            print(f"  {name:42} {value:9.2f}")


if __name__ == "__main__":
    main()
