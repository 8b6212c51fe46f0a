"""How many requests a busy disk in a bucket makes a second, by kind.

    python -m bench.disk_requests

The disk's own code over a store in memory and a clock that only it moves, scaled down to a 32nd: an
object of 8 MiB is 64 blocks, a GiB 8192, and what is written a second is a 32nd, too. Every number
of requests is then that of a disk of 3 GiB, half full, under pages of 16 KiB (a fifth of them get
four fifths of the writes, and so on within) and a redo log that goes round, half and half. So it
measures the algorithm, not a machine: the same on any. The aim is 1.1 commits a second and one PUT
for every 8 MiB that are sent or copied forward.
"""

import itertools
import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

from backends.disk import worker
from backends.disk.collection import compaction
from backends.disk.core import blockmap, checkpoint, packing
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.disk.worker import Worker
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from bench.s3_watch import kind
from tests.unit.disk.memory_place import memory_place

SCALE = 32
BLOCKS = 3 * 262144 // SCALE
USED = BLOCKS // 2
REDO = 96 * 256 // SCALE
UUID = "0d1e2f30-0000-4000-8000-000000000001"
TICK = 0.05


class Counted(MemoryStore):
    """Counts what it is asked, by verb and kind."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def _note(self, verb: str, key: str) -> None:
        self.asked[f"{verb} {kind(key)}"] += 1

    def get(self, key: str) -> bytes:
        self._note("GET", key)
        return super().get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._note("GET", key)
        return super().get_range(key, start, length)

    def put(self, key: str, body: bytes) -> None:
        self._note("PUT", key)
        super().put(key, body)

    def put_if_absent(self, key: str, body: bytes) -> None:
        self._note("PUT", key)
        super().put_if_absent(key, body)


class Busy:
    """A disk at work, and what stands in for its worker's thread."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = Counted()
        heads = Heads(StoreRecords(self.store, remember=True))
        heads.create(UUID, BLOCKS * 4096)
        ids = itertools.count(1)
        place = memory_place(self.store, "node", lambda: next(ids).to_bytes(16, "big"))
        place = replace(place, heads=heads, clock=lambda: self.now)
        terms = Terms(segment=1 << 20, segments=64, batch=8192 // SCALE)
        self.disk: Disk = open_disk(place, UUID, claim=1, terms=terms)
        self.worker = Worker(
            *(self.disk,), rpo=1.0, clock=lambda: self.now, complain=lambda what, error: None
        )
        self._tended = 0.0
        self._chance = random.Random(1)
        self._redo = 0
        for block in range(USED):
            self.disk.write(block * 4096, bytes(4096), 0)
            self.work()

    def work(self) -> None:
        """As the worker's thread does, but that nothing takes time."""
        while self.worker._due():
            self.disk.ship()
        if self.now - self._tended >= worker._TEND_SECONDS:
            self._tended = self.now
            self.disk.tend(hurried=self.worker._due)
            while self.disk.compact():
                pass

    def write(self) -> int:
        """A page, or as much redo log; how many blocks."""
        if self._chance.random() < 0.5:
            first = REDO + 4 * int((USED - REDO) // 4 * self._chance.random() ** 6.2)
        else:
            first, self._redo = self._redo, (self._redo + 4) % REDO
        self.disk.write(first * 4096, self._chance.randbytes(4096) * 4, 0)
        return 4

    def run(self, seconds: float, rate: float) -> dict[str, float]:
        """Requests a second while so many MiB a second are written."""
        self.store.asked.clear()
        parts, due = self.disk.parts, 0.0
        began, sent, copied = self.now, parts.shipper.bytes, parts.compactor.copied
        while self.now - began < seconds:
            self.now += TICK
            due += rate * 256 * TICK / SCALE
            while due > 0:
                due -= self.write()
            self.work()
        found = {name: n / seconds for name, n in self.store.asked.items()}
        found["MiB sent"] = (parts.shipper.bytes - sent) / 2**20 * SCALE / seconds
        found["MiB copied"] = (parts.compactor.copied - copied) / 256 * SCALE / seconds
        return found


def main() -> None:
    """Print the table."""
    small = [(blockmap, "REGION", 262144 // SCALE), (checkpoint, "REGION", 262144 // SCALE)]
    small += [(packing, "OBJECT_BLOCKS", 2048 // SCALE), (packing, "INLINE_BLOCKS", 256 // SCALE)]
    small += [(compaction, "_SMALL", 8), (worker, "SEAL_BYTES", worker.SEAL_BYTES // SCALE)]
    with ExitStack() as stack:
        for module, name, value in small:
            stack.enter_context(patch.object(module, name, value))
        for rate in (5, 19, 50):
            busy = Busy()
            busy.run(60, rate)
            found = busy.run(240, rate)
            puts = sum(n for name, n in found.items() if name.startswith("PUT"))
            aim = 1.1 + (found["MiB sent"] + found["MiB copied"]) / 8
            shown = "  ".join(f"{name} {n:.2f}" for name, n in sorted(found.items()))
            print(f"{rate} MiB/s written: {shown}\n  all PUT {puts:.2f}  aim {aim:.2f}")


if __name__ == "__main__":
    main()
