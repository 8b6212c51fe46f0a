"""The protocol of a disk in a bucket (`backends/disk`), every state of it.

    python -m docs.model.disk [NAME ...]

A disk of one block. Owners take the head over, read the log, fence, look at the head again; they
upload, commit, make checkpoints, decide what may go, go back to snapshots, sweep. Every request is
a step of its own and may come late or lose its reply; a deletion that was decided on may be carried
out at any time, by an owner who is long fenced. Anybody makes and removes snapshots. A restart is
to take the disk over once more.

Left out, and covered by the simulation only: the local log, several regions and objects, damage,
clones (for the base, a pin like any other), deletion of the whole disk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from docs.model.explorer import Model, command

Object = int
"""What a record writes: 4 * epoch + count, so that the name says who made it. 0: zeros."""
Known = frozenset[tuple[Object, int, int]]
"""(object, born, died); died 0: it lives."""


class Record(NamedTuple):
    """A slot of the log. `wrote` 0: a fence."""

    epoch: int
    wrote: Object


class Pin(NamedTuple):
    """A snapshot: the disk after record `seq`."""

    seq: int
    value: Object


class Head(NamedTuple):
    """Changed by compare-and-swap only."""

    epoch: int = 0
    seq: int = 0
    value: Object = 0
    """The checkpoint: the disk after record `seq`."""
    known: Known = frozenset()
    pins: frozenset[Pin] = frozenset()


class Node(NamedTuple):
    """One who has taken the disk over. `doomed`: what it has decided to delete, slots negative."""

    phase: str = "out"
    epoch: int = 0
    seq: int = 0
    value: Object = 0
    known: Known = frozenset()
    pending: Object = 0
    uploads: int = 0
    doomed: frozenset[int] = frozenset()
    seen: frozenset[Pin] = frozenset()
    """The pins when it took over: what it might go back to."""


class State(NamedTuple):
    """`made`: whatever was made in any slot, `late`: a record that may still arrive."""

    head: Head
    log: tuple[Record | None, ...]
    objects: frozenset[Object]
    nodes: tuple[Node, ...]
    made: frozenset[tuple[int, Record]] = frozenset()
    late: tuple[int, Record] | None = None
    faults: int = 0
    snapshots: int = 0

    def at(self, seq: int) -> Record | None:
        """What stands in a slot."""
        return self.log[seq - 1]

    def create(self, seq: int, record: Record) -> "State":
        """With a record in a free slot."""
        log = (*self.log[: seq - 1], record, *self.log[seq:])
        return self._replace(log=log, made=self.made | {(seq, record)})

    def with_node(self, number: int, node: Node) -> "State":
        """With one node changed."""
        nodes = (*self.nodes[:number], node, *self.nodes[number + 1 :])
        return self._replace(nodes=nodes)


Steps = Iterator[tuple[str, State]]


def image(state: State) -> Object:
    """What the next owner will find."""
    seq, value = state.head.seq, state.head.value
    while seq < len(state.log) and (record := state.at(seq + 1)) is not None:
        seq, value = seq + 1, record.wrote or value
    return value


def taken(node: Node, record: Record) -> Node:
    """A node that has read, or made, the next record."""
    seq, known = node.seq + 1, node.known
    if record.wrote:
        known = frozenset((o, b, d or (seq if o == node.value else 0)) for o, b, d in known)
        known |= {(record.wrote, seq, 0)}
    return node._replace(seq=seq, value=record.wrote or node.value, known=known)


def needed(pins: frozenset[Pin], born: int, died: int) -> bool:
    """Whether a pin lies in [born, died)."""
    return any(born <= pin.seq < died for pin in pins)


def is_whole(state: State, value: Object) -> bool:
    """Whether a block can be read."""
    return value == 0 or value in state.objects


def acknowledged(before: State, step: str, after: State) -> bool:
    """What is acknowledged, and what is served first, is what the next owner will find; or what a
    later owner has found and gone on from, if the acknowledgement comes late."""
    if "acknowledges" not in step and "serves" not in step:
        return True
    node = after.nodes["abc".index(step[0])]
    later = [other.known for other in after.nodes if other.epoch > node.epoch]
    found = {made for known in later for made, _, _ in known}
    return image(after) == node.value or ("acknowledges" in step and node.value in found)


def written_once(before: State, step: str, after: State) -> bool:
    """No record with data is made where another one was before. (Itself it may be: whoever got no
    reply makes it once more, and its first copy may have been collected by a later owner, who has
    gone on from it.)"""
    for seq, (old, new) in enumerate(zip(before.log, after.log, strict=True), 1):
        if old is None and new is not None and new.wrote:
            return all(record == new for at, record in before.made if at == seq)
    return True


@dataclass
class Disk(Model[State]):
    """The bounds of one exploration."""

    nodes: int = 2
    epochs: int = 2
    slots: int = 5
    faults: int = 1
    snapshots: int = 1
    sweeps: bool = True

    invariants = {  # noqa: RUF012
        "whoever takes the disk over can read it": lambda state: is_whole(state, image(state)),
        "every snapshot can be read": lambda state: all(
            is_whole(state, pin.value) for pin in state.head.pins
        ),
    }
    step_rules = {  # noqa: RUF012
        "what is acknowledged is found by the next owner": acknowledged,
        "no slot is written twice": written_once,
    }

    def initial(self) -> Iterator[State]:
        nodes = tuple(Node() for _ in range(self.nodes))
        yield State(Head(), (None,) * self.slots, frozenset(), nodes)

    def steps(self, state: State) -> Steps:
        yield from self.snapshots_come_and_go(state)
        if state.late is not None:
            seq, record = state.late
            after = state._replace(late=None)
            yield "a record arrives late", after.create(seq, record) if not state.at(seq) else after
        for number, node in enumerate(state.nodes):
            name = "abc"[number]
            for what in node.doomed:
                yield f"{name} deletes", self.without(state, what)
            if state.head.epoch < self.epochs:
                yield f"{name} takes over", self.take(state, number, node)
            doing: Callable[[State, int, Node], Steps] | None = getattr(self, node.phase, None)
            if doing is not None:
                for step, after in doing(state, number, node):
                    yield f"{name} {step}", after

    # -- the world -------------------------------------------------------------------------

    def snapshots_come_and_go(self, state: State) -> Steps:
        head = state.head
        if state.snapshots < self.snapshots:
            for pin in self.pinnable(state):
                after = state._replace(snapshots=state.snapshots + 1)
                yield (
                    "a snapshot is made",
                    after._replace(head=head._replace(pins=head.pins | {pin})),
                )
        for pin in head.pins:
            yield (
                "a snapshot is removed",
                state._replace(head=head._replace(pins=head.pins - {pin})),
            )

    def pinnable(self, state: State) -> list[Pin]:
        """What a snapshot may be made of: the checkpoint in the head, in the same step."""
        head = state.head
        return [Pin(head.seq, head.value)] if head.value else []

    def without(self, state: State, what: int) -> State:
        """A deletion is carried out. Its sender is not asked whether he still owns anything."""
        if what > 0:
            return state._replace(objects=state.objects - {what})
        log = (*state.log[: -what - 1], None, *state.log[-what:])
        return state._replace(log=log)

    # -- taking over -----------------------------------------------------------------------

    def take(self, state: State, number: int, node: Node) -> State:
        head = state.head._replace(epoch=state.head.epoch + 1)
        fresh = Node(
            *("reading", head.epoch, head.seq, head.value, head.known),
            doomed=node.doomed,
            seen=head.pins,
        )
        return state._replace(head=head).with_node(number, fresh)

    def reading(self, state: State, number: int, node: Node) -> Steps:
        record = state.at(node.seq + 1) if node.seq < self.slots else None
        if record is None:
            if node.seq < self.slots:
                yield "finds the end", state.with_node(number, node._replace(phase="fencing"))
        elif record.epoch > node.epoch:
            yield "is fenced", state.with_node(number, self.fenced_out(node))
        else:
            yield "reads", state.with_node(number, taken(node, record))

    def fencing(self, state: State, number: int, node: Node) -> Steps:
        fence = Record(node.epoch, 0)
        if state.at(node.seq + 1) is None:
            after = state.create(node.seq + 1, fence)
            fenced = taken(node, fence)._replace(phase="fenced")
            yield "fences", after.with_node(number, fenced)
        else:
            yield "was too late", state.with_node(number, node._replace(phase="reading"))

    def fenced(self, state: State, number: int, node: Node) -> Steps:
        if state.head.epoch == node.epoch:
            yield "serves", state.with_node(number, node._replace(phase="ready"))
        else:
            yield "is fenced", state.with_node(number, self.fenced_out(node))

    def fenced_out(self, node: Node) -> Node:
        """What it had decided on before may still happen."""
        return Node(doomed=node.doomed)

    # -- writing ---------------------------------------------------------------------------

    def ready(self, state: State, number: int, node: Node) -> Steps:
        if not node.pending and node.seq < self.slots and node.uploads < 2:
            made = 4 * node.epoch + node.uploads + 1
            after = node._replace(pending=made, uploads=node.uploads + 1)
            yield "uploads", state._replace(objects=state.objects | {made}).with_node(number, after)
        if node.pending:
            yield from self.commit(state, number, node)
        if state.head.epoch == node.epoch:
            yield from self.as_owner(state, number, node)
        if self.sweeps and (strays := self.strays(state, node)):  # nobody is asked who owns it
            doomed = node._replace(doomed=node.doomed | strays)
            yield "sweeps", state.with_node(number, doomed)

    def commit(self, state: State, number: int, node: Node) -> Steps:
        seq, own = node.seq + 1, Record(node.epoch, node.pending)
        there = state.at(seq)
        if there is None:
            after = state.create(seq, own)
            yield "acknowledges", self.committed(after, number, node)
            if state.faults < self.faults:
                unsure = node._replace(phase="unsure")
                lost = after._replace(faults=state.faults + 1)
                yield "hears no reply", lost.with_node(number, unsure)
                if state.late is None:
                    slow = state._replace(faults=state.faults + 1, late=(seq, own))
                    yield "hears no reply of what is late", slow.with_node(number, unsure)
        else:
            yield from self.finds(state, number, node, there)

    def finds(self, state: State, number: int, node: Node, there: Record) -> Steps:
        """Something stands in the slot that it wanted."""
        if there == Record(node.epoch, node.pending):
            yield "acknowledges", self.committed(state, number, node)
        else:
            yield "is fenced", state.with_node(number, self.fenced_out(node))

    def committed(self, state: State, number: int, node: Node) -> State:
        after = taken(node, Record(node.epoch, node.pending))
        return state.with_node(number, after._replace(phase="ready", pending=0))

    def unsure(self, state: State, number: int, node: Node) -> Steps:
        there = state.at(node.seq + 1)
        if there is None:
            yield "tries again", state.with_node(number, node._replace(phase="ready"))
        else:
            yield from self.finds(state, number, node, there)

    # -- what only the owner does, each in one compare-and-swap of the head ------------------

    def as_owner(self, state: State, number: int, node: Node) -> Steps:
        yield "makes a checkpoint", self.checkpoint(state, number, node)
        for pin in node.seen:
            if self.may_go_back(state, node, pin):
                yield "goes back", self.go_back(state, number, node, pin)
        yield "looks at the head", state.with_node(number, self.decided(state.head, state, node))

    def may_go_back(self, state: State, node: Node, pin: Pin) -> bool:
        """Right after its fence, and to a snapshot that is there in this very step."""
        fresh = state.at(node.seq) == Record(node.epoch, 0) and not node.pending
        return fresh and pin in state.head.pins

    def checkpoint(self, state: State, number: int, node: Node) -> State:
        head = state.head._replace(seq=node.seq, value=node.value, known=node.known)
        after = state._replace(head=head)
        return after.with_node(number, self.decided(head, after, node))

    def go_back(self, state: State, number: int, node: Node, pin: Pin) -> State:
        known = frozenset((o, b, 0 if o == pin.value else d or node.seq) for o, b, d in node.known)
        if not any(o == pin.value for o, _, _ in known):
            known |= {(pin.value, pin.seq, 0)}
        back = node._replace(value=pin.value, known=known)
        return self.checkpoint(state, number, back)

    def decided(self, head: Head, state: State, node: Node) -> Node:
        """What may go: dead at the checkpoint in the head, and needed by no pin beside it there."""
        doomed = {o for o, b, d in node.known if self.dead(head, node, b, d)}
        doomed |= {
            -seq for seq in range(1, self.reach(head, node) + 1) if self.slot_may_go(state, seq)
        }
        return node._replace(doomed=node.doomed | doomed)

    def reach(self, head: Head, node: Node) -> int:
        """The last slot that nobody reads any more."""
        return head.seq

    def dead(self, head: Head, node: Node, born: int, died: int) -> bool:
        return 0 < died <= head.seq and not needed(head.pins, born, died)

    def slot_may_go(self, state: State, seq: int) -> bool:
        """Fences stay for ever."""
        record = state.at(seq)
        return record is not None and record.wrote > 0

    def strays(self, state: State, node: Node) -> frozenset[Object]:
        """Objects of lower epochs that its map does not know."""
        known = {o for o, _, _ in node.known}
        return frozenset(o for o in state.objects if o // 4 < node.epoch and o not in known)


MODELS: dict[str, Callable[[], Disk]] = {
    "takeover and collection": lambda: Disk(epochs=2, slots=5, faults=0, snapshots=0),
    "lost and late replies": lambda: Disk(epochs=2, slots=4, faults=1, snapshots=0, sweeps=False),
    "snapshots": lambda: Disk(epochs=2, slots=5, faults=0, snapshots=1, sweeps=False),
    "three owners": lambda: Disk(epochs=3, slots=4, faults=0, snapshots=0),
}

LARGE: dict[str, Callable[[], Disk]] = {
    "snapshots and three owners": lambda: Disk(epochs=3, slots=5, faults=0, snapshots=1),
    "all at once": lambda: Disk(epochs=2, slots=5, faults=1, snapshots=1),
}
"""Minutes each: for the command line."""

if __name__ == "__main__":
    command({**MODELS, **LARGE}, __doc__.splitlines()[0])
