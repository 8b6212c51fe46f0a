"""How much a disk in a bucket writes for each byte that is written to it, and how much it keeps.

    python -m bench.disk_space

The disk's own code over a store in memory, scaled down: a disk of 4096 blocks, objects of 64, a
shipment after every 256 writes. So it measures the algorithm, not a machine: the same on any.
`written`: bytes put below data/ and log/ for each byte of blocks that was written to the disk
(below 1 where a block was overwritten before it was shipped). `kept`: bytes below data/ and log/
at the end, when what may go is gone, for each byte of the disk that is in use. The last column has
ten snapshots, taken evenly; the ideal is what must be kept for them.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

from backends.disk.collection import compaction
from backends.disk.core import blockmap, checkpoint, packing, pins
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_place import memory_place

BLOCKS = 4096
ROUNDS = 8
SHIPMENT = 256
UUID = "0d1e2f30-0000-4000-8000-000000000001"


class Counted(MemoryStore):
    """Counts what is put."""

    put_bytes = 0

    def put(self, key: str, body: bytes) -> None:
        self.put_bytes += len(body) if "/data/" in key else 0
        super().put(key, body)

    def put_if_absent(self, key: str, body: bytes) -> None:
        self.put_bytes += len(body) if "/log/" in key else 0
        super().put_if_absent(key, body)

    def kept(self) -> int:
        return sum(len(b) for k, b in self.objects.items() if "/data/" in k or "/log/" in k)


def uniform(chance: random.Random) -> Iterator[int]:
    while True:
        yield chance.randrange(BLOCKS)


def skewed(chance: random.Random) -> Iterator[int]:
    """Nine of ten writes go to a tenth of the blocks."""
    while True:
        hot = chance.random() < 0.9
        yield chance.randrange(BLOCKS // 10) if hot else chance.randrange(BLOCKS)


def pareto(chance: random.Random) -> Iterator[int]:
    """As sysbench's default for rows: a fifth of them gets four fifths, and so on within."""
    while True:
        yield int(BLOCKS * chance.random() ** 6.2) % BLOCKS


def sequential(chance: random.Random) -> Iterator[int]:
    """Round and round, as a redo log."""
    while True:
        yield from range(BLOCKS)


def opened(store: MemoryStore, excess: float) -> Disk:
    Heads(StoreRecords(store)).create(UUID, BLOCKS * 4096)
    ids = itertools.count(1)
    place = memory_place(store, "node", lambda: next(ids).to_bytes(16, "big"))
    terms = Terms(segment=1 << 20, segments=8, grace=0.0, excess=excess)
    return open_disk(place, UUID, claim=1, terms=terms)


def churn(
    pattern: Callable[[random.Random], Iterator[int]], excess: float, snapshots: int
) -> tuple[float, float, float]:
    """(written, kept, ideal) of one run that begins with a full disk."""
    store, chance = Counted(), random.Random(1)
    disk = opened(store, excess)
    for block in range(BLOCKS):
        disk.write(block * 4096, bytes(4096), 0)
        if block % SHIPMENT == SHIPMENT - 1:
            disk.ship()
    disk.checkpoint()
    before, written, images = store.put_bytes, 0, [[0] * BLOCKS]
    now = images[0][:]
    turns = ROUNDS * BLOCKS // SHIPMENT
    blocks = pattern(chance)
    for turn in range(turns):
        for _ in range(SHIPMENT):
            block = next(blocks)
            written += 1
            now[block] = written
            disk.write(block * 4096, written.to_bytes(8, "big") * 512, 0)
        disk.ship()
        disk.tend(commits=8)
        while disk.compact():
            disk.tend(commits=8)
        if snapshots and turn % (turns // snapshots) == 0:
            disk.pin(pins.snapshot(f"s{turn}", "", f"s{turn}"))
            images.append(now[:])
    disk.checkpoint()
    while disk.parts.collector.collect():
        pass
    needed = {(at, v) for one in [*images[1:], now] for at, v in enumerate(one)}
    ideal = len(needed) * 4096
    return (
        (store.put_bytes - before) / (written * 4096),
        store.kept() / (BLOCKS * 4096),
        ideal / (BLOCKS * 4096),
    )


def main() -> None:
    """Print the table."""
    small = [(blockmap, "REGION", 1024), (checkpoint, "REGION", 1024)]
    small += [(packing, "OBJECT_BLOCKS", 64), (packing, "INLINE_BLOCKS", 8)]
    small += [(compaction, "_SMALL", 8)]
    print("| pattern | excess | written | kept | written, 10 snapshots | kept | ideal |")
    print("|---|---|---|---|---|---|---|")
    with ExitStack() as stack:
        for module, name, value in small:
            stack.enter_context(patch.object(module, name, value))
        for pattern in (sequential, uniform, skewed, pareto):
            for excess in (1.3, 1.5, 2.0):
                plain, pinned = churn(pattern, excess, 0), churn(pattern, excess, 10)
                print(
                    f"| {pattern.__name__} | {excess} | {plain[0]:.2f} | {plain[1]:.2f} "
                    f"| {pinned[0]:.2f} | {pinned[1]:.2f} | {pinned[2]:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
