"""What kedge costs on GlusterFS: fio beside a mount made by hand, on a pool of its own.

A pool of three nodes (replica 3) on this machine; four places in turns: `mount -t glusterfs` by
hand, a kedge volume of layout `directory`, an ext4 image on the mount by hand through a loop device
(with direct I/O, as kedge makes it), a kedge volume of layout `image`. Then the time of
Mount and Unmount.
Run as root: python -m bench.gluster [--json] [--rounds 3] [--seconds 6]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.data_path import JOBS, fio
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


def mount_seconds(service: Service, name: str, rounds: int) -> float:
    """Median of Mount and Unmount together, of a volume that nobody else has."""
    service.call("VolumeDriver.Create", Name=name, Opts=None)
    took = []
    for _ in range(rounds):
        begun = time.monotonic()
        service.mount(name)
        service.unmount(name)
        took.append(time.monotonic() - begun)
    service.call("VolumeDriver.Remove", Name=name)
    return statistics.median(took)


def measure(rounds: int, seconds: int) -> dict[str, dict[str, float]]:
    """job -> place -> median over the rounds."""
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    found: dict[str, dict[str, list[float]]] = {name: {} for name in JOBS}
    pool = Pool()
    try:
        pool.volume("r3")
        with places(home, pool) as (service, where):
            for _ in range(rounds):
                for name, options in JOBS.items():
                    for label, place in where.items():
                        found[name].setdefault(label, []).append(fio(place, options, seconds))
            cycle = mount_seconds(service, "cycle", 5 * rounds)
    finally:
        pool.close()
        shutil.rmtree(home, ignore_errors=True)
    table = {
        name: {label: statistics.median(values) for label, values in by_place.items()}
        for name, by_place in found.items()
    }
    return {**table, "Mount and Unmount, ms": {"kedge directory": 1000 * cycle}}


def main() -> None:
    """Print a table with ratios to what was made by hand, or JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    asked = parser.parse_args()
    found = measure(asked.rounds, asked.seconds)
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for job, by_place in found.items():
        print(job)
        for label, value in by_place.items():
            base = by_place.get(PAIRS.get(label, label), value)
            print(f"  {label:16} {value:10.1f}   {value / base:.2f}")


if __name__ == "__main__":
    main()
