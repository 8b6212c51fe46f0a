"""Several nodes, one bucket, one disk: a seeded simulation with a byte oracle.

One seed is one run. Within any request to the store another node may take the disk over, or the
process may die. Every write has a stamp of its own, so the image tells which writes it holds.
The oracle: whenever the disk is opened, its image is that after some prefix of what was written,
no shorter than what had been promised; and while it is open it reads as it was written.
"""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from backends.disk import engine, journal
from backends.disk.core import blockmap, checkpoint, coding, packing, regions
from backends.disk.core.ciphers import Cipher, wrap
from backends.disk.core.coding import Coder, Compression
from backends.disk.core.head import Heads
from backends.disk.engine import Disk, Durability
from backends.disk.inspection import checking, examining, exporting
from backends.disk.inspection import dump as independent
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.reading import reader
from backends.disk.reading.cache import Cache
from backends.disk.writing import shipping
from backends.errors import Fenced, HostError, Unavailable
from backends.records.store import StoreRecords
from backends.stores.faulty import Crash, Faults, FaultyStore
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles

BLOCKS = 40
UUID = "0d1e2f30-0000-4000-8000-000000000001"
FAULTS = Faults(
    lost_request=0.03,
    lost_reply=0.04,
    late_effect=0.03,
    short_body=0.01,
    flipped_bit=0.01,
    crash=0.01,
)


KEY = bytes(range(32))


def coder(seed: int) -> tuple[Coder, str]:
    """Every way to keep blocks is somebody's; the wrapped key if they are encrypted."""
    compression = list(Compression)[seed % 3]
    if seed % 2:
        return Coder(compression, Cipher(KEY[::-1])), wrap(KEY, KEY[::-1])
    return Coder(compression), ""


@contextmanager
def small_sizes() -> Iterator[None]:
    """Everything that is 1 GiB, 8 MiB or 1 MiB is a few blocks."""
    small: list[tuple[Any, str, int]] = [
        (regions, "CHUNK", 4),
        *((module, "REGION", 16) for module in (blockmap, checkpoint, checking, exporting)),
        (packing, "OBJECT_BLOCKS", 4),
        (packing, "INLINE_BLOCKS", 3),
        (reader, "_REFETCH", 12),
        (journal, "_REFETCH", 12),
        (journal, "BEGINNING", 270),
        (engine, "FIRST_AFTER", 10),
        (engine, "EVERY", 15),
        (independent, "_FRAME", 2),
        *((module, "FRAME", 2) for module in (coding, reader, shipping, examining)),
    ]
    with ExitStack() as stack:
        for module, name, size in small:
            stack.enter_context(patch.object(module, name, size))
        yield


class NoCache(Cache):
    """Holds nothing: every read goes to the store."""

    def __init__(self) -> None:
        self.hits = self.misses = 0

    def get(self, key: str, frame: int) -> bytes | None:
        return None

    def read_into(self, key: str, frame: int, start: int, view: memoryview) -> bool:
        return False

    def put(self, key: str, frame: int, body: bytes | memoryview) -> None:
        pass

    def holds(self, key: str, frame: int) -> bool:
        return False

    def drop(self, key: str, frames: object) -> None:
        pass

    def close(self) -> None:
        pass


Op = tuple[int, int, int]
"""(first block, count, stamp); stamp 0 discards."""


def image(ops: list[Op]) -> list[int]:
    found = [0] * BLOCKS
    for start, count, stamp in ops:
        found[start : start + count] = [stamp] * count
    return found


def content(stamp: int) -> bytes:
    return struct.pack("<Q", stamp) * 512 if stamp else bytes(4096)


@dataclass
class Node:
    name: str
    files: MemoryFiles = field(default_factory=MemoryFiles)
    boot: int = 0
    session: "Session | None" = None


@dataclass
class Session:
    """One opened disk, and what its user knows."""

    node: Node
    disk: Disk
    ops: list[Op]
    """Everything in the image: what was found, and what was written since."""
    local: int = 0
    """How many of them a local flush has promised."""
    store: int = 0
    """How many of them a store flush has promised."""
    made: list[float] = field(default_factory=list)
    """When each of them was written."""
    passed: float | None = None
    """Since when somebody else has the disk."""
    confirmed: list[tuple[int, float]] = field(default_factory=list)
    """How many of them a flush confirmed, and when."""
    dead: bool = False
    closing: bool = False


class Broken(AssertionError):
    """The oracle was contradicted. `found`: the image, where it was one."""

    found: list[int] | None = None


class Untrue(Broken):
    """Somebody was told what is not so."""

    def __init__(self, told: Session) -> None:
        super().__init__("a fenced owner was told that its flush is in the store")
        self.told = told


class World:
    def __init__(self, seed: int, faults: Faults = FAULTS, nodes: int = 3) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.bucket = MemoryStore(lambda: self.now)
        self.depth = 0
        self.stamp = 0
        self.claim = 0
        self.opened: Session | None = None
        """The one that opened the disk last: its lineage is the truth."""
        self.truth: list[Op] = []
        self.busy: set[str] = set()
        """Nodes that are in a call: meanwhile they can only be written to."""
        self.booted = 0
        self.opening: list[str] = []
        self.attempts: list[str] = []
        self.visitors: set[str] = set()
        """Nodes that have tried to open the disk since it was opened last, its owner included."""
        self.in_store = 0
        """So many ops of the truth were promised to survive any node."""
        self.nodes = [Node(f"node{number}") for number in range(nodes)]
        self.stores = {
            node.name: FaultyStore(self.bucket, self.chance, faults, self.interrupt)
            for node in self.nodes
        }
        self.limit = (0.0, 4.0, 0.0, 9.0, 0.0)[seed % 5]
        """The disk's `rpo_limit`."""
        self.trust = (0.0, 0.0, 3.0)[seed % 3]
        """Of strict reads, seconds."""
        self.coder, wrapped = coder(seed)
        heads = Heads(StoreRecords(self.bucket))
        heads.create(UUID, BLOCKS * 4096, key_name="k" if wrapped else "", wrapped_key=wrapped)

    def run(self, steps: int) -> None:
        with small_sizes():
            for _ in range(steps):
                self.now += 1
                self.step()
            for store in self.stores.values():
                store.settle()
                store.faults = Faults()
            self.depth = 99
            for node in self.nodes:
                self.kill(node)
                self.open(node)
                self.compare_dump(node)

    def compare_dump(self, node: Node) -> None:
        """The image that an independent reader finds in the bucket is the one that is served."""
        session = node.session
        if session is None:
            return
        while session.disk.ship():
            pass
        objects = self.bucket.objects
        dumped = dict(independent.dump(list(objects), objects.__getitem__, UUID, "", KEY))
        for block, stamp in enumerate(image(session.ops)):
            if dumped.get(block, bytes(4096)) != content(stamp):
                raise Broken(f"the dump of block {block} is not {stamp}")

    def interrupt(self, verb: str, key: str) -> None:
        """In the middle of somebody's request, others do things."""
        if self.depth >= 2 or self.chance.random() > 0.02:
            return
        self.depth += 1
        for _ in range(self.chance.randrange(1, 6)):
            with suppress(Crash):
                self.step()
        self.depth -= 1

    def step(self) -> None:
        node = self.chance.choice(self.nodes)
        session = node.session
        if node.name in self.busy:
            if session and not session.dead and self.in_call(session):
                self.chance.choice([self.write, self.discard])(session)
            return
        if session is None:
            if self.chance.random() < 0.3:
                self.guard(node, lambda: self.open(node))
            return
        acts = [self.write] * 6 + [self.flush, self.flush_store, self.ship, self.ship]
        acts += [self.tend, self.check, self.check, self.discard]
        if self.depth == 0:
            acts += [self.end]
        act = self.chance.choice(acts)
        self.guard(node, lambda: act(session))

    def in_call(self, session: Session) -> bool:
        """Whether its user may write while another of its calls runs."""
        return (
            not session.closing
            and session.disk.parts.log.room(5 * 4096)
            and session.disk._broken is None
        )

    def guard(self, node: Node, act: Callable[[], None]) -> None:
        self.busy.add(node.name)
        try:
            act()
        except Crash:
            self.kill(node)
        except Unavailable:
            return
        except (Fenced, HostError):
            self.kill(node)
        finally:
            self.busy.discard(node.name)

    def kill(self, node: Node) -> None:
        """The process ends. What it wrote is in the page cache of its node."""
        if node.session:
            node.session.dead = True
        node.session = None

    # -- what a user does ------------------------------------------------------------------

    def write(self, session: Session) -> None:
        start = self.chance.randrange(BLOCKS)
        count = min(self.chance.choice([1, 1, 2, 5]), BLOCKS - start)
        if not self.room(session, count):
            return
        self.stamp += 1
        stamp = self.stamp
        session.disk.write(start * 4096, content(stamp) * count, unique=0)
        session.ops.append((start, count, stamp))
        session.made.append(self.now)

    def discard(self, session: Session) -> None:
        start = self.chance.randrange(BLOCKS)
        count = self.chance.randrange(1, BLOCKS - start + 1)
        if self.room(session, 0):
            session.disk.discard(start * 4096, count * 4096)
            session.ops.append((start, count, 0))
            session.made.append(self.now)

    def room(self, session: Session, count: int) -> bool:
        """Ship when the log is full; on a real machine the writer would wait meanwhile."""
        if not session.disk.parts.log.room(count * 4096):
            session.disk.ship()
        return session.disk.parts.log.room(count * 4096) and not session.dead

    def flush(self, session: Session) -> None:
        session.disk.durability = Durability.LOCAL
        promised = len(session.ops)
        session.disk.flush()
        session.local = max(session.local, promised)
        session.confirmed.append((promised, self.now))

    def flush_store(self, session: Session) -> None:
        session.disk.durability = Durability.STORE
        promised = session.ops[:]
        session.disk.flush()
        session.store = len(promised)
        if session is self.opened:
            self.in_store = max(self.in_store, len(promised))
            self.truth = session.ops
        elif self.truth[: len(promised)] != promised:
            raise Untrue(session)

    def ship(self, session: Session) -> None:
        session.disk.ship()

    def tend(self, session: Session) -> None:
        session.disk.tend(commits=3)
        if self.chance.random() < 0.6:
            session.disk.compact()

    def check(self, session: Session) -> None:
        """Blocks that are written while they are read may read either way."""
        before = len(session.ops)
        found = self.stamps(session.disk)
        possible = [image(session.ops[:n]) for n in range(before, len(session.ops) + 1)]
        for block, stamp in enumerate(found):
            if stamp not in {one[block] for one in possible}:
                raise Broken(f"block {block} reads {stamp}, not {possible[-1][block]}")
        if self.trust and session.passed is not None and self.now >= session.passed + self.trust:
            raise Broken(f"read what is old since {session.passed:g} at {self.now:g}")

    def stamps(self, disk: Disk) -> list[int]:
        body = disk.read(0, BLOCKS * 4096)
        stamps = [struct.unpack_from("<Q", body, at * 4096)[0] for at in range(BLOCKS)]
        for at, stamp in enumerate(stamps):
            if body[at * 4096 : at * 4096 + 4096] != content(stamp):
                raise Broken(f"block {at} holds no whole write")
        return stamps

    def end(self, session: Session) -> None:
        """Close, kill, cut the power, or lose the node."""
        node, fate = session.node, self.chance.random()
        if fate < 0.3:
            session.closing = True
            ops = session.ops[:]
            session.disk.close()
            if session is self.opened:
                self.in_store, self.truth = len(ops), ops
        self.kill(node)
        if 0.5 < fate < 0.8:
            node.files.cut_power(self.chance)
            node.boot += 1
        elif fate >= 0.9:
            node.files = MemoryFiles()
            node.boot += 1

    # -- opening, and the oracle -----------------------------------------------------------

    def open(self, node: Node) -> None:
        self.opening.append(node.name)
        self.attempts.append(node.name)
        try:
            self.take_over(node)
        finally:
            self.opening.remove(node.name)

    def take_over(self, node: Node) -> None:
        began = len(self.attempts) - 1
        self.claim += self.chance.choice([0, 1])
        before, boot = self.opened, node.boot
        self.visitors.add(node.name)
        log = "binding.json" in node.files.names()
        disk = open_disk(self.place(node), UUID, claim=self.claim, terms=self.terms())
        try:
            found = self.stamps(disk)
        except Unavailable:
            node.session = None
            return
        if self.opened is not before or node.session is not None:
            return
        owner = self.opened
        ops = owner.ops if owner else []
        least = self.promised(owner, node, boot) if log else self.in_store
        for length in range(len(ops), least - 1, -1):
            if image(ops[:length]) == found:
                break
        else:
            error = Broken(
                f"opened on {node.name} : {found} is no prefix of {ops}"
                f" with at least {least} of {len(ops)}"
            )
            error.found = found
            raise error
        session = Session(node, disk, ops[:length], store=self.in_store)
        session.local = length
        if owner:
            owner.passed = self.now
            self.within_limit(owner, length)
            session.made = owner.made[:length]
            session.confirmed = [one for one in owner.confirmed if one[0] <= length]
        self.opened, node.session = session, session
        self.visitors = {*self.opening, *self.attempts[began:]}
        self.truth = session.ops
        self.booted = boot
        if owner is None or owner.node is not node:
            self.in_store = length

    def within_limit(self, owner: Session, length: int) -> None:
        """Of what an owner confirmed and is lost, nothing was older than the limit then."""
        for promised, when in owner.confirmed:
            if self.limit and promised > length and when - owner.made[length] >= self.limit:
                raise Broken(
                    f"op {length} of {promised} is lost, was made at {owner.made[length]:g} and "
                    f"confirmed at {when:g}, with a limit of {self.limit:g}"
                )

    def promised(self, owner: Session | None, node: Node, boot: int) -> int:
        if owner is None or self.visitors != {node.name}:
            return self.in_store
        if boot == self.booted:
            return len(owner.ops)
        return max(self.in_store, owner.local)

    def place(self, node: Node) -> Place:
        store = self.stores[node.name]

        def wait(count: int) -> None:
            if count > 8:
                raise Unavailable("gave up")

        def orphan(binding: object) -> MemoryFiles:
            node.files = MemoryFiles()
            return node.files

        return Place(
            store=store,
            heads=Heads(StoreRecords(store, nonce=self.nonce, remember=True)),
            files=node.files,
            orphan=orphan,
            cache=NoCache,
            node=node.name,
            boot=f"{node.name} {node.boot}",
            new_id=lambda: self.chance.randbytes(16),
            coder=self.coder,
            clock=lambda: self.now,
            moment=lambda: (self.now,),
            wait=wait,
        )

    def nonce(self) -> str:
        return f"{self.chance.getrandbits(64):016x}"

    def terms(self) -> Terms:
        return Terms(
            rpo_limit=self.limit,
            trust=self.trust,
            segment=56 * 1024,
            segments=8,
            batch=self.chance.choice((1, 3, 8192)),
            grace=4.0,
            excess=1.2,
            many=8,
            stray_age=20.0,
        )
