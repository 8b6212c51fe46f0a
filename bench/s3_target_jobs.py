"""What of the aims of a disk in a bucket `bench.s3` does not measure, each by a function.

Each returns what -> place -> the figures of its rounds. The store answers after a given time and
computes little (`bench.distant_store`), so that what is seen is the disk and not the store.
"""

import json
import os
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backends.base import Spec, Volume
from backends.claims import Claim
from backends.host import loop
from backends.options import parse
from backends.s3.options import S3Options
from backends.stores.s3 import S3Store, connect
from bench import s3_events, s3_jobs
from bench.mariadb import transactions_per_second
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
from tests.lab.s3_nodes import BUCKET, Node

Found = dict[str, dict[str, list[float]]]
DIRECT = "plain loop, direct"
LOOPS = (LOOP, DIRECT)
PLAIN = (HOST, *LOOPS)
"""What there is beside kedge."""
RANDOM = "4K random write on the device, {} at a time, IOPS"
SYNCED = "16K write + fdatasync, {}, per s"
LATE = "16K write + fdatasync, {}, p99 ms"
REQUEST = "a request that makes an object of a block, ms"
FSYNC = "fsync after a 4K write, ms"
BESIDES = "fsync besides its request, ms"
SYSBENCH = "sysbench oltp_write_only, 16 threads, {} binary log, tps"
SNAPSHOT = "snapshot of 1 TiB, mounted, s"
CLONE = "clone of 1 TiB, s"
MOVE = "move in order, s"
WRITTEN = "put for each byte sent, sysbench and 10 snapshots"
KEPT = "kept for each byte needed, sysbench and 10 snapshots"
_SIZE = 1 << 30
_WORDS = "2026-02-03T04:05:06Z"
MS = 1000.0


def device(made: Lab, rounds: int, seconds: int) -> Found:
    """4K random writes without a file system, on a loop device with direct I/O each."""
    found: Found = {}
    with ExitStack() as stack:
        nodes = {
            HOST: _host_file(made.home / "host.img"),
            DIRECT: stack.enter_context(_looped(_host_file(made.home / "loop.img"))),
            LOCAL: stack.enter_context(_disk(made.node("device"))),
        }
        for _ in range(rounds):
            for depth in (1, 32):
                for label, node in nodes.items():
                    how = ["--rw=randwrite", "--bs=4k", f"--iodepth={depth}", "--ioengine=libaio"]
                    job = _fio([f"--filename={node}", "--direct=1", *how], seconds)
                    _note(found, RANDOM.format(depth), label, job["write"]["iops"])
    return found


def synced(made: Lab, rounds: int, seconds: int) -> Found:
    """Overwriting 16 KiB and fdatasync, on ext4, with one and with sixteen jobs."""
    found: Found = {}
    places: dict[str, Place] = {
        HOST: HostPlace(made.home),
        LOOP: LoopPlace(made.home),
        LOCAL: KedgePlace(made.node("synced")),
    }
    with opened(places):
        for _ in range(rounds):
            for jobs, words in ((1, "1 job"), (16, "16 jobs")):
                for label, place in places.items():
                    rate, late = _synced(place.path, jobs, seconds)
                    _note(found, SYNCED.format(words), label, rate)
                    _note(found, LATE.format(words), label, late)
    return found


def in_store(made: Lab, rounds: int, seconds: int) -> Found:
    """With durability=store: what an fsync costs besides its request, and sysbench."""
    found: Found = {}
    places: dict[str, Place] = {
        HOST: HostPlace(made.home),
        LOOP: LoopPlace(made.home),
        LOCAL: KedgePlace(made.node("local")),
        STORE: KedgePlace(made.node("store"), durability="store"),
    }
    with opened(places):
        for _ in range(rounds):
            puts, syncs = _puts(made, 4 * seconds), _fsyncs(places[STORE].path, 4 * seconds)
            request, fsync = MS * statistics.median(puts), MS * statistics.median(syncs)
            _note(found, REQUEST, STORE, request)
            _note(found, FSYNC, STORE, fsync)
            _note(found, BESIDES, STORE, fsync - request)
            rate, _ = _synced(places[STORE].path, 16, seconds)
            _note(found, SYNCED.format("16 jobs, durability=store"), STORE, rate)
        for binlog, words in ((False, "without"), (True, "with")):
            for label, place in places.items():
                value = transactions_per_second(place.path, 3 * seconds, threads=16, binlog=binlog)
                _note(found, SYSBENCH.format(words), label, value)
    return found


def snapshots(made: Lab, rounds: int, seconds: int) -> Found:
    """Of a volume of 1 TiB that was written here and there, while somebody writes to it; then
    clones of them, up to the first synced write on one."""
    found: Found = {}
    node = made.node("large")
    volume = node.create(size="1T", log="1G", cache="1G")
    try:
        place = node.attach(volume, 1)
        s3_events.touch(place / "touched", 64)
        _until_sent(node)
        for number in range(rounds):
            with (place / "written").open("wb") as file:
                file.write(os.urandom(1 << 20))
            began = time.monotonic()
            _snapshot(node, volume, f"s{number}")
            _note(found, SNAPSHOT, LOCAL, time.monotonic() - began)
        for number in range(rounds):
            other = made.beside(node, f"clone-{number}")
            began = time.monotonic()
            clone = _cloned(other, number)
            _note(found, CLONE, LOCAL, time.monotonic() - began)
            found_place = other.attach(clone, 1)
            (found_place / "own").write_bytes(b"x")
            _note(found, "clone of 1 TiB, until it is mounted, s", LOCAL, time.monotonic() - began)
            other.lose(disk=False)
    finally:
        node.lose(disk=False)
    return found


def moves(made: Lab, rounds: int, seconds: int) -> Found:
    """To another node, in order: the one lets go, the other attaches."""
    found: Found = {}
    one = made.node("one")
    two = made.beside(one, "two")
    volume = one.create(size="100G", log="1G", cache="1G")
    try:
        for number in range(rounds):
            place = one.attach(volume, 2 * number + 1)
            (place / "f").write_bytes(os.urandom(1 << 20))
            began = time.monotonic()
            one.detach()
            let_go = time.monotonic()
            two.attach(volume, 2 * number + 2)
            _note(found, "move in order: the part of who lets go, s", LOCAL, let_go - began)
            _note(found, MOVE, LOCAL, time.monotonic() - began)
            two.detach()
    finally:
        one.lose(disk=False)
        two.lose(disk=False)
    plain = LoopPlace(made.home)
    plain.open()
    for _ in range(rounds):
        began = time.monotonic()
        plain.close()
        plain._mount()
        _note(found, MOVE, LOOP, time.monotonic() - began)
    plain.close()
    return found


def streams(made: Lab, rounds: int, seconds: int) -> Found:
    """1 MiB after the other: written until it is in the store, read by a node that has nothing."""
    found: Found = {}
    places: dict[str, Place] = {
        HOST: HostPlace(made.home),
        LOOP: LoopPlace(made.home),
        LOCAL: KedgePlace(made.node("streams")),
    }
    with opened(places):
        for _ in range(rounds):
            for name in (s3_jobs.STORED, s3_jobs.READ_COLD):
                for label, place in places.items():
                    _note(found, name, label, s3_jobs.JOBS[name](place, seconds))
    return found


PARTS: Mapping[str, Callable[[Lab, int, int], Found]] = {
    "device": device,
    "synced": synced,
    "store": in_store,
    "snapshots": snapshots,
    "moves": moves,
    "streams": streams,
}


def _note(found: Found, name: str, label: str, value: float) -> None:
    found.setdefault(name, {}).setdefault(label, []).append(value)
    print(f"{name}, {label}: {value:.4g}", flush=True)


def _host_file(file: Path) -> Path:
    with file.open("wb") as made:
        os.posix_fallocate(made.fileno(), 0, _SIZE)
    return file


@contextmanager
def _looped(file: Path) -> Iterator[Path]:
    with loop.attached(file, label="bench-targets", block_size=4096) as device:
        yield loop.node(device.number)


@contextmanager
def _disk(node: Node) -> Iterator[Path]:
    """A volume's loop device, with nothing mounted on it. What is on it is lost."""
    volume = node.volume = node.create(size="1G", log="1G", cache="1G")
    node.backend._disks.open(volume, 1)
    try:
        with _looped(node.path.file) as device:
            yield device
    finally:
        node.lose(disk=False)


def _fio(options: list[str], seconds: int) -> dict[str, dict[str, float]]:
    command = ["fio", "--name=job", f"--size={_SIZE}", "--time_based", "--ramp_time=0.3"]
    argv = [*command, f"--runtime={seconds}", "--output-format=json", *options]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)["jobs"][0]
    return found


def _synced(place: Path, jobs: int, seconds: int) -> tuple[float, float]:
    """Writes with their sync in a second; milliseconds in which 99 of 100 are done."""
    how = ["--rw=randwrite", "--bs=16k", "--ioengine=psync", "--fdatasync=1", "--overwrite=1"]
    many = ["--size=16M", f"--numjobs={jobs}", "--group_reporting", f"--directory={place}"]
    job = json.loads(json.dumps(_fio([*how, *many], seconds)))
    for file in place.glob("job.*"):
        file.unlink()
    late = [job["write"]["clat_ns"], job["sync"]["lat_ns"]]
    return job["write"]["iops"], sum(one["percentile"]["99.000000"] for one in late) / 1e6


def _puts(made: Lab, count: int) -> list[float]:
    """Seconds of requests to the store as a disk makes them for a record of one block."""
    client = connect(made.store.endpoint)
    store, found = S3Store(lambda: client, BUCKET, "puts"), []
    for _ in range(count):
        key, began = os.urandom(16).hex(), time.monotonic()
        store.put_if_absent(key, os.urandom(4400))
        found.append(time.monotonic() - began)
    return found


def _fsyncs(place: Path, count: int) -> list[float]:
    """Seconds of an fdatasync after 4 KiB were written over what was there."""
    handle, found = os.open(place / "synced", os.O_RDWR | os.O_CREAT), []
    try:
        os.pwrite(handle, bytes(1 << 20), 0)
        os.fsync(handle)
        for number in range(count):
            os.pwrite(handle, os.urandom(4096), number % 256 * 4096)
            began = time.monotonic()
            os.fdatasync(handle)
            found.append(time.monotonic() - began)
    finally:
        os.close(handle)
    return found


def _until_sent(node: Node) -> None:
    while node.lag()["bytes"]:
        time.sleep(0.05)


def _cloned(node: Node, number: int) -> Volume[S3Options]:
    how = {"size": "1T", "log": "1G", "cache": "1G", "from": f"db@s{number}"}
    parsed = parse(S3Options, how, subject="clone")
    return node.backend.create(Spec(f"clone-{number}", parsed, str(uuid.uuid4()), _WORDS))


def _snapshot(node: Node, volume: Volume[S3Options], name: str) -> None:
    claim = Claim(volume.uuid, node.name, f"session-of-{node.name}", 1)
    node.backend.snapshot_create(
        volume, name, created=_WORDS, attachment=node.attached, claim=claim
    )
