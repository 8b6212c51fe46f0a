"""The world of tests/unit/disk with everything that happens to a disk besides reading and writing:
snapshots, going back, clones and clones of clones, growth, deletion, collection at full speed.

The oracle has more to say here: a snapshot reads for ever as the disk did when it was taken, found
by the independent dumper in the raw bucket; so does a clone, whatever becomes of its base; going
back happened or did not; and in the end nothing is left in the bucket that nobody needs.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from backends.disk.collection.deletion import delete_disk
from backends.disk.core import pins
from backends.disk.core.head import Head, Heads, State
from backends.disk.core.naming import epoch_of
from backends.disk.engine import Disk
from backends.disk.inspection.dump import dump
from backends.disk.opening import Place, open_disk
from backends.disk.snapshots.cloning import FIRST, clone_disk
from backends.disk.snapshots.restoring import restore_disk
from backends.errors import (
    Exists,
    InUse,
    Invalid,
    NotFound,
)
from backends.records.store import StoreRecords
from backends.stores.faulty import Faults, FaultyStore
from tests.unit.disk import world
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import (
    BLOCKS,
    FAULTS,
    UUID,
    Broken,
    NoCache,
    Node,
    Op,
    Session,
    Untrue,
    content,
    image,
    small_sizes,
)

Image = list[int]


@dataclass
class Clone:
    """A clone: what it reads, which only its own few sessions change."""

    uuid: str
    base: str
    source: str
    possible: list[Image]
    files: MemoryFiles = field(default_factory=MemoryFiles)
    sure: bool = False
    """Whether somebody was told that it is there."""
    dropped: bool = False
    """Whether somebody began to delete it."""
    claims: int = 0


class World(world.World):
    """One seed is one run, as there."""

    def __init__(self, seed: int, faults: Faults = FAULTS, nodes: int = 3) -> None:
        super().__init__(seed, faults, nodes)
        self.names = itertools.count(1)
        self.kept: dict[str, list[Image]] = {}
        """By snapshot: what it may read as; one image once it was seen."""
        self.unsure: set[str] = set()
        """Snapshots of whose making or removal nothing is known."""
        self.making: set[str] = set()
        """Those that are being made at rest: nobody who is asked to make one drops it meanwhile."""
        self.pasts: list[Image] = []
        """What the disk may read as because somebody began to go back and was never answered."""
        self.returning: list[Image] = []
        """Those of them that somebody is going back to now: whoever opens the disk meanwhile is
        not the last to have a say."""
        self.returns = 0
        """How often somebody began to go back."""
        self.clones: dict[str, Clone] = {}
        self.heads = Heads(StoreRecords(self.bucket))
        self.seen: dict[str, int] = {}
        self.late: set[str] = set()
        """What a request that is carried out late may leave behind, of a clone never finished."""

    # -- one step ---------------------------------------------------------------------------

    def step(self) -> None:
        fate = self.chance.random()
        node = self.chance.choice(self.nodes)
        if fate > 0.3 or node.name in self.busy:
            super().step()
            return
        acts: list[Callable[[Node], None]] = [
            *[self.take_snapshot] * 6,
            *[self.look_at_snapshots, self.drop_snapshot, self.make_clone] * 2,
            *[self.use_clone] * 3,
            *[self.go_back] * 3,
            self.drop_clone,
            self.grow,
            *[self.copy_forward] * 3,
        ]
        act = self.chance.choice(acts)
        self.guard(node, lambda: act(node))

    def note(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def head(self) -> Head:
        return self.heads.read(UUID)

    def flush_store(self, session: Session) -> None:
        """One who has nothing to send is right to say so, though somebody has gone back since. So
        is an owner who sent it before somebody went back, and hears of it afterwards."""
        owned, returns = session is self.opened, self.returns
        if not owned and not session.disk.parts.overlay:
            return
        try:
            super().flush_store(session)
        except Untrue as error:
            if error.told is not session or not owned or returns == self.returns:
                raise

    # -- snapshots --------------------------------------------------------------------------

    def take_snapshot(self, node: Node) -> None:
        name = f"s{next(self.names)}"
        if node.session is None:
            self.snapshot_at_rest(node, name)
            return
        session = node.session
        promised = len(session.ops)
        self.unsure.add(name)
        step = pins.snapshot(name, "", name)
        try:
            session.disk.pin(step)
        except Invalid:
            self.unsure.discard(name)
            return
        finally:
            self.kept[name] = [
                image(session.ops[:n]) for n in range(promised, len(session.ops) + 1)
            ]
        self.unsure.discard(name)
        self.note("snapshot")
        if session is self.opened:
            self.in_store = max(self.in_store, promised)
            self.truth = session.ops

    def snapshot_at_rest(self, node: Node, name: str) -> None:
        """Of a disk that was closed; also asked for while it is open, to be refused."""
        heads = self.heads_of(node)
        before = (self.opened, len(self.opened.ops) if self.opened else 0)
        self.unsure.add(name)
        truth = self.opened.ops if self.opened else []
        self.kept[name] = [image(truth), *self.pasts]
        self.making.add(name)
        try:
            heads.update(UUID, pins.snapshot_at_rest(name, "", name))
        except (InUse, Invalid, NotFound):
            self.unsure.discard(name)
            self.kept.pop(name, None)
            return
        finally:
            self.making.discard(name)
            changed = before != (self.opened, len(self.opened.ops) if self.opened else 0)
            if changed and name in self.kept:
                self.kept[name] += [*self.all_prefixes(), *self.pasts]
        self.unsure.discard(name)
        self.note("snapshot at rest")

    def all_prefixes(self) -> list[Image]:
        ops = self.opened.ops if self.opened else []
        return [image(ops[:n]) for n in range(len(ops) + 1)]

    def look_at_snapshots(self, node: Node) -> None:
        present = pins.snapshots(self.head())
        for name in list(self.kept):
            if name in present:
                self.settle_image(self.kept[name], self.dumped(UUID, name), f"snapshot {name}")
            elif name not in self.unsure:
                raise Broken(f"snapshot {name} is gone")
        self.note("looked")

    def settle_image(self, possible: list[Image], found: Image, what: str) -> None:
        if found not in possible:
            raise Broken(f"{what} reads {found}, not one of {possible}")
        possible[:] = [found]

    def dumped(self, uuid: str, snapshot: str = "") -> Image:
        """What an independent reader finds in the bucket."""
        objects = self.bucket.objects
        blocks = dict(dump(list(objects), objects.__getitem__, uuid, snapshot, world.KEY))
        found = []
        for block in range(BLOCKS):
            body = blocks.get(block, bytes(4096))
            stamp = int.from_bytes(body[:8], "little")
            if body != content(stamp):
                raise Broken(f"block {block} of {uuid} holds no whole write")
            found.append(stamp)
        return found

    def drop_snapshot(self, node: Node) -> None:
        names = [name for name in self.kept if name not in self.making]
        if not names:
            return
        name = self.chance.choice(names)
        self.unsure.add(name)
        self.heads_of(node).update(UUID, pins.without(name))
        self.kept.pop(name, None)
        self.note("dropped")

    def go_back(self, node: Node) -> None:
        """Asked for by a node that does not have the disk open; whoever has is fenced."""
        names = [name for name, images in self.kept.items() if len(images) == 1]
        if node.session is not None or not names:
            return
        name = self.chance.choice(names)
        past = list(self.kept[name][0])
        before, began = self.opened, len(self.attempts)
        self.attempts.append("going back")
        self.opening.append("going back")  # it takes the head, whoever opens the disk meanwhile
        self.visitors.add("going back")
        self.pasts.append(past)
        self.returning.append(past)
        self.returns += 1
        place = self.place(node)
        try:
            restore_disk(
                *(place.store, place.heads, UUID, name),
                claim=self.claim,
                node=node.name,
                new_id=place.new_id,
                wait=place.wait,
                coder=self.coder,
            )
        except NotFound:
            if name not in self.unsure and name in self.kept:
                raise Broken(f"snapshot {name} is gone") from None
            return
        finally:
            self.returning.remove(past)
            self.opening.remove("going back")
        self.note("went back")
        if self.opened is before and self.attempts[began + 1 :] == []:
            self.adopt(node, past)

    def adopt(self, node: Node, past: Image) -> None:
        """From now on this is the history."""
        ops: list[Op] = [(block, 1, stamp) for block, stamp in enumerate(past)]
        if self.opened:
            self.opened.passed = self.now
        self.opened = Session(Node("nobody"), None, ops, store=len(ops))  # type: ignore[arg-type]
        self.opened.made = [self.now] * len(ops)
        self.truth, self.in_store = ops, len(ops)
        self.visitors = {"going back"}
        self.pasts[:] = self.returning

    def take_over(self, node: Node) -> None:
        """What somebody began to go back to may be what is found."""
        before, known = self.opened, list(self.pasts)
        try:
            super().take_over(node)
        except world.Broken as error:
            found = getattr(error, "found", None)
            if found not in self.pasts:
                raise
            self.adopt(node, found)
            self.note("found the past")
            return
        if self.opened is not before and self.opened is node.session:
            began = [past for past in self.pasts if not any(past is one for one in known)]
            self.pasts[:] = [*self.returning, *began]

    # -- clones -----------------------------------------------------------------------------

    def within_limit(self, owner: Session, length: int) -> None:
        """Whoever goes back to a snapshot gives up what is newer, whatever the limit."""
        if image(owner.ops[:length]) not in self.pasts:
            super().within_limit(owner, length)

    def make_clone(self, node: Node) -> None:
        """A new one, or one whose making was cut short."""
        halves = [clone for clone in self.clones.values() if not clone.sure and not clone.dropped]
        if halves and self.chance.random() < 0.7:
            clone = halves[0]
            self.begin_again(clone)
        elif (made := self.new_clone()) is None:
            return
        else:
            clone = self.clones[made.uuid] = made
        try:
            head = clone_disk(
                *(self.stores[node.name], self.heads_of(node)),
                *(clone.base, clone.source),
                uuid=clone.uuid,
                size=(BLOCKS + 8) * 4096,
                new_id=lambda: self.chance.randbytes(16),
                coder=self.coder,
            )
        except (NotFound, InUse, Invalid):
            return  # its snapshot was dropped meanwhile
        except Exists:
            if not clone.dropped:
                raise
            return  # the clone was dropped meanwhile
        clone.sure = head.state is not State.DELETED and not clone.dropped
        self.note("cloned")

    def begin_again(self, clone: Clone) -> None:
        """Whether its base was pinned the first time is not known, and the base may have been
        written since."""
        if not clone.source and clone.base in self.clones:
            clone.possible += [list(one) for one in self.clones[clone.base].possible]

    def new_clone(self) -> Clone | None:
        uuid = f"clone-{next(self.names)}"
        sure = [name for name, images in self.kept.items() if len(images) == 1]
        bases = [clone for clone in self.clones.values() if clone.sure and len(clone.possible) == 1]
        if len(self.clones) > 5:
            return None
        if bases and self.chance.random() < 0.3:
            base = self.chance.choice(bases)
            return Clone(uuid, base.uuid, "", [list(one) for one in base.possible])
        if not sure:
            return None
        name = self.chance.choice(sure)
        return Clone(uuid, UUID, name, [list(one) for one in self.kept[name]])

    def use_clone(self, node: Node) -> None:
        """Open it, look, write, collect, close: without faults of its own, beside all others'."""
        ready = [clone for clone in self.clones.values() if clone.sure]
        if not ready or self.depth:
            return
        clone = self.chance.choice(ready)
        clone.claims += 1
        disk = open_disk(
            self.clone_place(clone), clone.uuid, claim=clone.claims, terms=self.terms()
        )
        self.settle_image(clone.possible, self.stamps(disk), f"clone {clone.uuid}")
        (now,) = clone.possible
        for _ in range(self.chance.randrange(6)):
            self.stamp += 1
            start = self.chance.randrange(BLOCKS)
            count = min(self.chance.randrange(1, 20), BLOCKS - start)
            for block in range(start, start + count):
                disk.write(block * 4096, content(self.stamp), unique=0)
                now[block] = self.stamp
            disk.ship()
            self.now += self.chance.randrange(4)
            disk.tend(commits=2)
            disk.compact()
        disk.close()
        self.heads.let_go(clone.uuid, disk.parts.journal.owner)
        self.settle_image(clone.possible, self.dumped(clone.uuid), f"clone {clone.uuid}")
        self.note("used a clone")

    def clone_place(self, clone: Clone) -> Place:
        return Place(
            store=self.bucket,
            heads=self.heads,
            files=clone.files,
            orphan=lambda binding: MemoryFiles(),
            cache=NoCache,
            node="clones",
            boot="boot",
            new_id=lambda: self.chance.randbytes(16),
            clock=lambda: self.now,
            wait=lambda count: None,
            coder=self.coder,
        )

    def drop_clone(self, node: Node) -> None:
        begun = {
            key.split("/")[2] for key in self.bucket.objects if key.startswith("records/disks/")
        }
        clones = [clone for clone in self.clones.values() if clone.uuid in begun]
        if not clones:
            return
        clone = self.chance.choice(clones)
        if not clone.sure:
            self.late.add(f"disks/{clone.uuid}/{FIRST}")
        clone.sure, clone.dropped = False, True
        self.delete(self.stores[node.name], clone.uuid)
        self.clones.pop(clone.uuid, None)
        self.note("dropped a clone")

    def delete(self, store: FaultyStore | None, uuid: str) -> None:
        used = store or self.bucket
        heads = Heads(StoreRecords(used, nonce=lambda: f"{self.chance.getrandbits(64):016x}"))
        delete_disk(used, heads, uuid, new_id=lambda: self.chance.randbytes(16))

    def copy_forward(self, node: Node) -> None:
        """Compaction, with whatever a user does between reading and committing."""
        session = node.session
        if session is None or session.dead:
            return
        compactor = session.disk.parts.compactor
        numbers = compactor.choose(session.disk.parts.collector.pinned)
        copy = compactor.prepare(numbers) if numbers else None
        if self.chance.random() < 0.5:
            self.write(session)
            session.disk.ship()
            session.disk.tend(commits=1)
        if copy is not None and not session.dead:
            with session.disk._shipping, session.disk._breaking():
                self.seen["copied"] = self.seen.get("copied", 0) + compactor.commit(copy)

    def grow(self, node: Node) -> None:
        size = (BLOCKS + self.chance.randrange(8)) * 4096
        self.heads_of(node).grow(UUID, size)
        if node.session and not node.session.dead and size >= node.session.disk.size:
            node.session.disk.resize(size)

    def heads_of(self, node: Node) -> Heads:
        store = self.stores[node.name]
        return Heads(StoreRecords(store, nonce=lambda: f"{self.chance.getrandbits(64):016x}"))

    # -- the end ----------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        super().run(steps)
        with small_sizes():
            self.look_at_snapshots(self.nodes[0])
            self.collect_everything()
            self.look_at_snapshots(self.nodes[0])
            for clone in self.clones.values():
                if clone.sure:
                    self.settle_image(clone.possible, self.dumped(clone.uuid), clone.uuid)
            self.delete_everything()

    def collect_everything(self) -> None:
        """Without snapshots all that is left is what the disk needs."""
        session = next(node.session for node in self.nodes if node.session)
        if session is not self.opened:
            return
        disk = session.disk
        disk.checkpoint()
        for _ in range(6):
            self.now += 400
            disk.tend(commits=1)
        known = self.needed(disk)
        for key in self.bucket.objects:
            body = key.removeprefix(disk.parts.journal.prefix)
            epoch = epoch_of(body)
            if key.startswith(disk.parts.journal.prefix) and epoch and key not in known:
                if epoch < disk.parts.journal.owner.epoch:
                    raise Broken(f"{key} is needed by nobody and yet it is there")
                self.note("stray")

    def needed(self, disk: Disk) -> set[str]:
        journal = disk.parts.journal
        known = {found.key for found in journal.map.objects.values()}
        known |= {*journal.regions.values(), *(p.key for p in journal.litter), journal.manifest}
        return {journal.prefix + key for key in known}

    def delete_everything(self) -> None:
        """The disk first: its clones go on. Then they, and nothing is left but fences."""
        self.delete(None, UUID)
        for clone in list(self.clones.values()):
            if clone.sure:
                self.settle_image(clone.possible, self.dumped(clone.uuid), clone.uuid)
        order = list(self.clones)
        self.chance.shuffle(order)
        for uuid in order:
            self.delete(None, uuid)
            for clone in self.clones.values():
                if clone.sure and clone.uuid in order[order.index(uuid) + 1 :]:
                    self.settle_image(clone.possible, self.dumped(clone.uuid), clone.uuid)
        there = {key for key in self.bucket.objects if key.startswith("disks/")} - self.late
        left = [key for key in there if "/log/" not in key]
        fences = [key for key in there if "/log/" in key]
        if left or len(fences) != len({key.split("/")[1] for key in fences}):
            raise Broken(f"deleted, and yet there are {left} and {fences}")
