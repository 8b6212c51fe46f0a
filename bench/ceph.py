"""What kedge costs on Ceph: fio and sysbench beside mounts made by hand, on a cluster of its own.

A cluster of one OSD (bluestore) on this machine. Six places in turns, so that a busy machine is
busy for all of them, every other time in the opposite order, as each is slower or faster for what
ran just before: a subvolume by `ceph-fuse` by hand, a kedge volume of layout `filesystem`, an image
by `rbd-fuse` and a loop device by hand (with direct I/O), a kedge volume of layout `disk`, and what
is made by hand a second time, which tells how far two that are the same lie apart; all of them
without the cache of Ceph's client, as kedge makes it. Two more, only for comparison: both by hand
with that cache, which loses what it has confirmed when the client is shut out
(docs/decisions/0008); they come last, half as often.

The ratio is the median of the ratios of single rounds. Then, at the seam (so without waiting for
any lease): the time to attach, to move (detach here, attach there), and to take over from a node
that still writes.
Run as root: python -m bench.ceph [--rounds 4] [--seconds 3] [--sysbench 1] [--out FILE]
FILE.txt and FILE.json get the results after every round, FILE.png the plot.
"""

import argparse
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Context, Spec, Volume
from backends.ceph import CephBackend
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.claims import Claim
from backends.host import mounts, servers
from backends.host.waiting import wait_until
from backends.options import Size
from bench import report
from bench.data_path import JOBS, fio
from bench.machine import described
from bench.mariadb import transactions_per_second
from tests.lab.ceph import CAPABILITIES, Ceph

SIZE = 3 * 2**30
PAIRS = {
    "kedge filesystem": "ceph-fuse by hand",
    "ceph-fuse by hand, again": "ceph-fuse by hand",
    "kedge disk": "rbd-fuse by hand",
    "rbd-fuse by hand, again": "rbd-fuse by hand",
}
CACHED = ("ceph-fuse by hand, cache", "rbd-fuse by hand, cache")
SHORT = 64
"""MiB, of what a job writes from one end to the other: more takes too long without a cache."""
_LEAVING = 180
"""Seconds that a client with a cache may need for what it has not yet written."""
Found = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Lab:
    """The cluster, a directory to mount below, and kedge's key."""

    cluster: Ceph
    home: Path
    keyring: Path

    def backend(self, node: str) -> CephBackend:
        """A node of its own."""
        place = self.home / node
        settings = CephSettings(keyring=self.keyring, conf=self.cluster.conf, fs=self.cluster.fs)
        return CephBackend(settings, Context("ceph", node, place / "mounts", place / "state"))


def made(backend: CephBackend, name: str, layout: Layout) -> Volume[CephOptions]:
    """A new volume."""
    options = CephOptions(layout=layout, size=Size(SIZE))
    return backend.create(Spec(name, options, str(uuid.uuid4()), "2026-01-01T00:00:00Z"))


@contextmanager
def lab() -> Iterator[Lab]:
    """A cluster for the block."""
    cluster = Ceph()
    try:
        cluster.start()
        home = cluster.root / "tmp/bench"
        home.mkdir()
        yield Lab(cluster, home, cluster.key("kedge", **CAPABILITIES))
    finally:
        cluster.close()


@contextmanager
def places(lab: Lab) -> Iterator[dict[str, Path]]:
    """The directories to compare."""
    with ExitStack() as stack:
        yield {
            "ceph-fuse by hand": stack.enter_context(_subvolume_by_hand(lab, "plain")),
            "kedge filesystem": stack.enter_context(_by_kedge(lab, Layout.FILESYSTEM)),
            "rbd-fuse by hand": stack.enter_context(_image_by_hand(lab, "plain")),
            "kedge disk": stack.enter_context(_by_kedge(lab, Layout.DISK)),
            "ceph-fuse by hand, again": stack.enter_context(_subvolume_by_hand(lab, "again")),
            "rbd-fuse by hand, again": stack.enter_context(_image_by_hand(lab, "again")),
            CACHED[0]: stack.enter_context(_subvolume_by_hand(lab, "cached", cached=True)),
            CACHED[1]: stack.enter_context(_image_by_hand(lab, "cached", cached=True)),
        }


@contextmanager
def _by_kedge(lab: Lab, layout: Layout) -> Iterator[Path]:
    backend = lab.backend("bench")
    volume = made(backend, layout.value, layout)
    attachment = backend.attach(volume, backend.context.mounts / volume.name, claim=None)
    try:
        yield attachment.target
    finally:
        backend.detach(attachment)
        backend.remove(volume)


@contextmanager
def _subvolume_by_hand(lab: Lab, name: str, *, cached: bool = False) -> Iterator[Path]:
    point, named = lab.home / f"subvolume-{name}", {"vol_name": lab.cluster.fs, "sub_name": name}
    point.mkdir()
    lab.cluster.mgr("fs subvolume create", size=SIZE, **named)
    path = lab.cluster.mgr("fs subvolume getpath", **named)
    cache = [] if cached else ["--client_oc=false"]
    admin = ["-c", str(lab.cluster.conf), "-n", "client.admin", *cache]
    _run("ceph-fuse", *admin, "--client_fs", lab.cluster.fs, "-r", path, str(point))
    try:
        (point / "data").mkdir()
        yield point / "data"
    finally:
        _run("umount", str(point))
        servers.ended("ceph-fuse", point, _LEAVING)


@contextmanager
def _image_by_hand(lab: Lab, name: str, *, cached: bool = False) -> Iterator[Path]:
    images, point = lab.home / f"images-{name}", lab.home / name
    images.mkdir()
    point.mkdir()
    conf, pool = str(lab.cluster.conf), lab.cluster.pool
    _run("rbd", "-c", conf, "create", "--image-feature", "layering", f"-s{SIZE}B", f"{pool}/{name}")
    cache = {} if cached else {"CEPH_ARGS": "--rbd_cache=false"}
    _run("rbd-fuse", "-c", conf, "-p", pool, "-r", name, str(images), **cache)
    device = _run("losetup", "-f", "--show", "--direct-io=on", str(images / name)).strip()
    _run("mkfs.ext4", "-q", "-E", "nodiscard", device)
    _run("mount", device, str(point))
    try:
        (point / "data").mkdir()
        yield point / "data"
    finally:
        _run("umount", str(point))
        _run("losetup", "-d", device)
        wait_until(lambda: mounts.unmounted(images), _LEAVING)  # the device lets go a moment later
        servers.ended("rbd-fuse", images, _LEAVING)


def _run(*argv: str, **environment: str) -> str:
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout


def data_path(lab: Lab, found: Found, rounds: int, seconds: int, sysbench: int) -> Iterator[int]:
    """Add job -> place -> what each round gave to `found`; yields after each round its number."""
    with places(lab) as where:
        for number in range(1, rounds + 1):
            for job, (name, options) in enumerate(JOBS.items()):
                for label in _turn(where, number + job, cached=number % 2 == 1):
                    _add(found, name, label, _job(where[label], options, seconds))
            if number <= sysbench:
                for label in _turn(where, number, cached=False):
                    value = transactions_per_second(where[label], 2 * seconds)
                    _add(found, "sysbench oltp_write_only tps", label, value)
            yield number


def _job(place: Path, options: list[str], seconds: int) -> float:
    """What fio finds out; what it is to read is laid out by us, in large pieces."""
    reads = "--rw=randread" in options
    if reads:
        with (place / "job.0.0").open("wb") as file:
            for _ in range(SHORT):
                file.write(os.urandom(2**20))
            os.fsync(file.fileno())
    short = [f"--size={SHORT}M"] if reads or "--end_fsync=1" in options else []
    return fio(place, [*options, *short], seconds)


def _turn(where: Mapping[str, Path], number: int, *, cached: bool) -> list[str]:
    """In which order the places are measured this time."""
    compared = [label for label in where if label not in CACHED]
    return (compared if number % 2 else compared[::-1]) + (list(CACHED) if cached else [])


def _add(found: Found, job: str, place: str, value: float) -> None:
    found.setdefault(job, {}).setdefault(place, []).append(value)


def moves(lab: Lab, rounds: int) -> Found:
    """Milliseconds, per layout."""
    names = ("attach, ms", "move, ms", "take over, ms")
    found: Found = {}
    for layout in Layout:
        for _ in range(rounds):
            for name, value in zip(names, _moved(lab, layout), strict=True):
                _add(found, name, f"kedge {layout.value}", value)
    return found


def _moved(lab: Lab, layout: Layout) -> tuple[float, float, float]:
    one, two = lab.backend("one"), lab.backend("two")
    volume = made(one, "moved", layout)

    def attached(backend: CephBackend, epoch: int) -> float:
        begun = time.monotonic()
        claim = Claim(volume.uuid, backend.context.node, "session", epoch)
        backend.attach(volume, backend.context.mounts / volume.name, claim=claim)
        return 1000 * (time.monotonic() - begun)

    def detached(backend: CephBackend) -> float:
        begun = time.monotonic()
        for attachment in backend.attachments():
            backend.detach(attachment)
        return 1000 * (time.monotonic() - begun)

    attach = attached(one, 1)
    (one.context.mounts / "moved/file").write_bytes(os.urandom(2**20))
    move = detached(one) + attached(two, 2)
    take = attached(one, 3)
    assert (one.context.mounts / "moved/file").stat().st_size == 2**20
    detached(two)
    detached(one)
    one.remove(volume)
    return attach, move, take


def main() -> None:
    """Print the table; write it, the figures and the plot to files with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--sysbench", type=int, default=1, help="rounds; 0: none")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    machine = described()
    with lab() as made_lab:
        found = moves(made_lab, asked.rounds)
        for number in data_path(made_lab, found, asked.rounds, asked.seconds, asked.sysbench):
            head = ", ".join(f"{key} {value}" for key, value in machine.items())
            text = (
                f"{head}\n{number} rounds of {asked.seconds} s\n\n{report.beside(found, PAIRS)}\n"
            )
            print(text, flush=True)
            if asked.out is not None:
                report.keep(asked.out, "bench.ceph", text, {"machine": machine, "found": found})
                report.plot_beside(asked.out, found, PAIRS)


if __name__ == "__main__":
    main()
