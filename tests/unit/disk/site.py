"""Nodes, a bucket and a clock that only moves when somebody waits: an hour takes no time here.

Everything of a disk is the real thing but what it stands on: files, store, clock. While one node
waits for its store, `meanwhile` lets the others do what they would do in that time.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from backends.base import Finding
from backends.disk.core.coding import PLAIN
from backends.disk.core.head import Heads
from backends.disk.engine import Disk, Durability
from backends.disk.inspection.checking import Inspector
from backends.disk.inspection.dump import dump
from backends.disk.log.locallog import Binding
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.reading.cache import Cache
from backends.errors import Unavailable
from backends.records.store import StoreRecords
from backends.stores.faulty import Faults, FaultyStore
from backends.stores.memory import MemoryStore
from backends.stores.retrying import Patience, Retrying
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import BLOCKS, UUID, NoCache, content

SIZE = BLOCKS * 4096
AWAY = Faults(lost_request=1.0)
FOR_EVER = 1 << 30
SEGMENTS = 8


@dataclass
class Node:
    """One machine: its files, and its way to the bucket."""

    name: str
    way: FaultyStore
    files: MemoryFiles = field(default_factory=MemoryFiles)
    kept: list[tuple[Binding, MemoryFiles]] = field(default_factory=list)
    """Local logs that the history has passed by."""
    boot: int = 0
    patience: int = FOR_EVER
    """How often it asks the store again."""
    cache: Callable[[], Cache] = NoCache


class Site:
    """A bucket with one disk in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bucket = MemoryStore(lambda: self.now)
        self.heads = Heads(StoreRecords(self.bucket))
        self.heads.create(UUID, SIZE)
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[tuple[float, str, str]] = []
        """Every request: when, verb, key."""
        self.written = [0] * BLOCKS
        """The stamp of each block, as it was written last."""
        self.back: list[tuple[float, Node]] = []
        """From when on whose way to the bucket is free again."""
        self._chance = random.Random(7)
        self._ids: Iterator[int] = itertools.count(1)
        self._inside = False

    def node(self, name: str, faults: Faults | None = None) -> Node:
        note = lambda verb, key: self.asked.append((self.now, verb, key))  # noqa: E731
        return Node(name, FaultyStore(self.bucket, self._chance, faults or Faults(), note))

    def place(self, node: Node) -> Place:
        def orphan(binding: Binding) -> MemoryFiles:
            node.kept.append((binding, node.files))
            node.files = MemoryFiles()
            return node.files

        def wait(count: int) -> None:
            if count > node.patience:
                raise Unavailable("gave up")
            self.sleep(min(5.0, 0.05 * 2 ** min(count, 10)))

        store = Retrying(node.way, Patience(self.sleep, self._chance.random, attempts=4))
        return Place(
            store=store,
            heads=Heads(
                StoreRecords(store, nonce=lambda: f"{next(self._ids):016x}", remember=True)
            ),
            files=node.files,
            orphan=orphan,
            cache=node.cache,
            node=node.name,
            boot=f"{node.name} {node.boot}",
            new_id=lambda: next(self._ids).to_bytes(16, "big"),
            clock=lambda: self.now,
            moment=lambda: (self.now,),
            wait=wait,
        )

    def open(
        self,
        node: Node,
        claim: int,
        durability: Durability = Durability.LOCAL,
        batch: int = 8192,
        **more: float,
    ) -> Disk:
        terms = Terms(
            durability=durability,
            segment=56 * 1024,
            segments=SEGMENTS,
            batch=batch,
            grace=0.0,
            **more,  # type: ignore[arg-type]
        )
        known = Heads(StoreRecords(self.bucket)).read(UUID)
        return open_disk(self.place(node), UUID, claim=claim, terms=terms, known=known)

    def sleep(self, seconds: float) -> None:
        """Time passes, and what others do in it is done; of that, nobody waits for us."""
        self.now += seconds
        for when, node in self.back:
            if self.now >= when:
                node.way.faults = Faults()
        if self._inside:
            return
        self._inside = True
        try:
            self.meanwhile()
        finally:
            self._inside = False

    def write(self, disk: Disk, first: int, stamp: int, count: int = 1) -> None:
        disk.write(first * 4096, content(stamp) * count, 0)
        self.written[first : first + count] = [stamp] * count

    @property
    def image(self) -> bytes:
        """What was written, by whomever."""
        return b"".join(content(stamp) for stamp in self.written)

    def dumped(self, snapshot: str = "", uuid: str = UUID) -> bytes:
        """What an independent reader finds in the raw bucket."""
        objects = self.bucket.objects
        found = dict(dump(list(objects), objects.__getitem__, uuid, snapshot, bytes(32)))
        return b"".join(found.get(block, bytes(4096)) for block in range(BLOCKS))

    def check(self) -> list[Finding]:
        """fsck."""
        with ThreadPoolExecutor(2) as pool:
            inspector = Inspector(
                self.bucket, lambda: self.heads.read(UUID), PLAIN, lambda count: None, pool
            )
            return inspector.check(lambda done, total: None)

    def keys(self, kind: str) -> list[str]:
        """Those of the disk's objects of one kind: log, data, ckpt."""
        return sorted(key for key in self.bucket.objects if key.startswith(f"disks/{UUID}/{kind}/"))


def read(disk: Disk) -> bytes:
    return bytes(disk.read(0, SIZE))


def shipped(disk: Disk) -> None:
    """Everything that was written is in the store."""
    while disk.ship():
        pass
