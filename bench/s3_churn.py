"""What a database's writes cost a disk in a bucket in the end: bytes put, bytes kept.

sysbench runs on MariaDB in a plain image, and the kernel's trace of its loop device says what was
written when. That is then replayed, by the trace's own clock, on the disk's code over a store in
memory: shipped after a second or 8 MiB, checkpointed, collected and copied forward as its server
does, with snapshots taken evenly; what is deleted is deleted at once. So the same trace gives the
same figures on any machine. Root, and a kernel with tracefs.
"""

import itertools
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backends.disk.core import pins
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.disk.worker import SEAL_BYTES
from backends.records.store import StoreRecords
from bench.disk_space import Counted
from bench.mariadb import transactions_per_second
from bench.s3_places import LoopPlace
from tests.unit.disk.memory_place import memory_place

UUID = "0d1e2f30-0000-4000-8000-000000000001"
_LINE = re.compile(r" (\d+\.\d+): block_rq_complete: \d+,\d+ (\w+) \(.*?\) (\d+) \+ (\d+) ")
_TEND = 5.0
_RPO = 1.0
_SECTORS = 8


@dataclass(frozen=True)
class Write:
    """`count` blocks from `first` on, at a second of the trace; `gone`: discarded."""

    at: float
    first: int
    count: int
    gone: bool = False


@dataclass(frozen=True)
class Cost:
    """For each byte of blocks that was sent: bytes put. For each byte that has to be kept for the
    disk and its snapshots: bytes kept."""

    written: float
    kept: float


def parsed(lines: Iterable[str]) -> Iterator[Write]:
    """What of a kernel's trace changed blocks."""
    for line in lines:
        found = _LINE.search(line)
        if found and int(found[4]) and (found[2][0] in "WD" or found[2].startswith("FW")):
            sector, count = int(found[3]), int(found[4])
            gone = found[2][0] == "D"
            yield Write(float(found[1]), sector // _SECTORS, count // _SECTORS, gone)


def recorded(seconds: int, rows: int) -> list[Write]:
    """A database that is made, filled and worked on, as its device saw it."""
    with tempfile.TemporaryDirectory(prefix="kedge-churn-", dir="/var/tmp") as home:
        place = LoopPlace(Path(home))
        place.open()
        try:
            with _traced(os.stat(place.path).st_dev, Path(home)) as trace:
                transactions_per_second(place.path, seconds, threads=16, rows=rows)
                os.sync()
        finally:
            place.close()
        return list(parsed(trace.read_text().splitlines()))


@contextmanager
def _traced(device: int, home: Path) -> Iterator[Path]:
    """The file that has the trace of a block device when the block has ended."""
    tracing, trace = home / "tracing", home / "trace"
    tracing.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "nodev", str(tracing)], check=True)
    ours = tracing / "instances/kedge-bench"
    ours.mkdir()
    event = ours / "events/block/block_rq_complete"
    try:
        (ours / "buffer_size_kb").write_text("16384")
        (event / "filter").write_text(f"dev == {os.major(device) << 20 | os.minor(device)}")
        (event / "enable").write_text("1")
        with trace.open("wb") as out, (ours / "trace_pipe").open("rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            ending = threading.Event()
            reader = threading.Thread(target=_copied, args=(pipe.fileno(), out, ending))
            reader.start()
            try:
                yield trace
            finally:
                (event / "enable").write_text("0")
                ending.set()
                reader.join()
    finally:
        ours.rmdir()
        subprocess.run(["umount", str(tracing)], check=True)


def _copied(pipe: int, out: BinaryIO, ending: threading.Event) -> None:
    while True:
        last = ending.wait(0.05)
        while True:
            try:
                piece = os.read(pipe, 1 << 16)
            except BlockingIOError:
                break
            if not piece:
                break
            out.write(piece)
        if last:
            return


class Replay:
    """One disk that gets the writes of a trace."""

    def __init__(self, writes: list[Write], snapshots: int) -> None:
        self.store = Counted()
        self.disk = _opened(self.store, 1 + max(one.first + one.count for one in writes))
        self._writes, self._snapshots = writes, snapshots
        self._now: dict[int, int] = {}
        self._images: list[dict[int, int]] = []
        self._tended = writes[0].at

    def run(self) -> Cost:
        """All of it."""
        began, ended = self._writes[0].at, self._writes[-1].at
        pause = (ended - began) / (self._snapshots + 1)
        since: float | None = None
        for number, one in enumerate(self._writes):
            waited = since is not None and one.at - since >= _RPO
            if waited or len(self.disk.parts.overlay) * 4096 >= SEAL_BYTES:
                self._sent()
                since = None
            if one.at - self._tended >= _TEND:
                self._tended = one.at
                self._tend()
            if one.at - began >= pause * (len(self._images) + 1) and one.at < ended:
                self._pin()
            self._take(one, number)
            since = one.at if since is None else since
        self._sent()
        self._tend()
        return self._cost()

    def _take(self, one: Write, number: int) -> None:
        blocks = range(one.first, one.first + one.count)
        if one.gone:
            self.disk.discard(one.first * 4096, one.count * 4096)
            for block in blocks:
                self._now.pop(block, None)
        else:
            self.disk.write(one.first * 4096, number.to_bytes(8, "big") * 512 * one.count, 0)
            self._now.update(dict.fromkeys(blocks, number))

    def _sent(self) -> None:
        while self.disk.ship():
            pass

    def _tend(self) -> None:
        self.disk.tend()
        while self.disk.compact():
            self.disk.tend()

    def _pin(self) -> None:
        name = f"s{len(self._images)}"
        self._images.append(dict(self._now))
        self.disk.pin(pins.snapshot(name, "", name))

    def _cost(self) -> Cost:
        self.disk.checkpoint()
        while self.disk.parts.collector.collect():
            pass
        needed = {pair for image in (*self._images, self._now) for pair in image.items()}
        sent = self.disk.parts.shipper.bytes
        return Cost(self.store.put_bytes / sent, self.store.kept() / (4096 * len(needed)))


def _opened(store: Counted, blocks: int) -> Disk:
    Heads(StoreRecords(store)).create(UUID, blocks * 4096)
    ids = itertools.count(1)
    place = memory_place(store, "node", lambda: next(ids).to_bytes(16, "big"))
    return open_disk(place, UUID, claim=1, terms=Terms(segment=4 << 20, segments=16, grace=0.0))
