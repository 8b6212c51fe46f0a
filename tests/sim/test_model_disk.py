"""Every state of the model of a disk; and with each rule of the protocol broken, a counterexample.

`python -m docs.model.disk` explores it, too.
"""

from dataclasses import dataclass

import pytest

from docs.model.disk import (
    MODELS,
    Disk,
    Head,
    Known,
    Node,
    Object,
    Pin,
    Record,
    State,
    Steps,
    needed,
    taken,
)
from docs.model.explorer import Counterexample, explore

pytestmark = pytest.mark.sim

LOST = "what is acknowledged is found by the next owner"
UNREADABLE = "whoever takes the disk over can read it"
BROKEN_SNAPSHOT = "every snapshot can be read"


@pytest.mark.parametrize("name", MODELS)
def test_every_rule_holds(name: str) -> None:
    explored = explore(MODELS[name]())
    assert explored.states > 2_000
    assert {"a fences", "b serves", "b acknowledges", "a is fenced"} <= explored.names
    if "snapshots" in name:
        assert {"a goes back", "a snapshot is removed"} <= explored.names
    if "late" in name:
        assert {"a record arrives late", "a tries again"} <= explored.names


class FencesAreCollected(Disk):
    """A stale writer finds its slot free again."""

    def slot_may_go(self, state: State, seq: int) -> bool:
        return state.at(seq) is not None


class NobodyLooksAfterTheFence(Disk):
    """A fence in a slot that was used and collected is taken for the end of the log."""

    def fenced(self, state: State, number: int, node: Node) -> Steps:
        yield "serves", state.with_node(number, node._replace(phase="ready"))


class NobodyFences(Disk):
    """A new owner just begins to write."""

    def fencing(self, state: State, number: int, node: Node) -> Steps:
        yield "fences", state.with_node(number, node._replace(phase="fenced"))


class NoReplyIsSuccess(Disk):
    """A commit of which nothing was heard counts as made."""

    def unsure(self, state: State, number: int, node: Node) -> Steps:
        yield "acknowledges", self.committed(state, number, node)


class RecordsBeforeData(Disk):
    """The record that names an object is made first."""

    def ready(self, state: State, number: int, node: Node) -> Steps:
        for step, after in super().ready(state, number, node):
            if step == "uploads":
                after = after._replace(objects=state.objects)
            yield step, after


class CollectedBeforeTheCheckpoint(Disk):
    """What is dead now goes, though the checkpoint in the head still leads to it."""

    def reach(self, head: Head, node: Node) -> int:
        return node.seq


class PinsOfAnEarlierHead(Disk):
    """The pins are those that were read before the checkpoint was put into the head."""

    def dead(self, head: Head, node: Node, born: int, died: int) -> bool:
        return 0 < died <= head.seq and not needed(node.seen, born, died)


class PinsOfThePast(Disk):
    """A snapshot is made of any earlier moment."""

    def pinnable(self, state: State) -> list[Pin]:
        return [Pin(born, made) for made, born, _ in state.head.known]


class GoingBackBlindly(Disk):
    """Whether the snapshot is still there is looked at before, not in the same step."""

    def may_go_back(self, state: State, node: Node, pin: Pin) -> bool:
        return state.at(node.seq) == Record(node.epoch, 0) and not node.pending


class SweepsNamesOfAnyEpoch(Disk):
    """Also what whoever came after is about to commit."""

    def strays(self, state: State, node: Node) -> frozenset[Object]:
        known = {made for made, _, _ in node.known} | {node.pending}
        return frozenset(made for made in state.objects if made not in known)


class CheckpointsOfAFencedOwner(Disk):
    """The head is not compared before it is swapped."""

    def ready(self, state: State, number: int, node: Node) -> Steps:
        yield from super().ready(state, number, node)
        if state.head.epoch != node.epoch:
            yield "makes a checkpoint", self.checkpoint(state, number, node)


class WhatLivesAgainIsDead(Disk):
    """Going back does not bring to life what it goes back to."""

    def go_back(self, state: State, number: int, node: Node, pin: Pin) -> State:
        known: Known = frozenset((o, b, d or node.seq) for o, b, d in node.known)
        return self.checkpoint(state, number, node._replace(value=pin.value, known=known))


class OlderEpochsAreNotTakenOver(Disk):
    """What an earlier owner committed before our fence is skipped."""

    def reading(self, state: State, number: int, node: Node) -> Steps:
        for step, after in super().reading(state, number, node):
            if step == "reads":
                record = Record(node.epoch, 0)
                after = state.with_node(number, taken(node, record))
            yield step, after


@dataclass
class Bounds:
    """How far a broken protocol has to be explored to be found out."""

    epochs: int = 2
    slots: int = 4
    faults: int = 0
    snapshots: int = 0
    sweeps: bool = False


MUTANTS = [
    (FencesAreCollected, Bounds(epochs=3), ("no slot is written twice", LOST)),
    (NobodyLooksAfterTheFence, Bounds(epochs=3, slots=5), (LOST,)),
    (NobodyFences, Bounds(), (LOST,)),
    (NoReplyIsSuccess, Bounds(faults=1), (LOST,)),
    (RecordsBeforeData, Bounds(), (UNREADABLE,)),
    (CollectedBeforeTheCheckpoint, Bounds(slots=5), (LOST, UNREADABLE)),
    (PinsOfAnEarlierHead, Bounds(snapshots=1), (BROKEN_SNAPSHOT,)),
    (PinsOfThePast, Bounds(snapshots=1), (BROKEN_SNAPSHOT,)),
    (GoingBackBlindly, Bounds(slots=5, snapshots=1), (UNREADABLE,)),
    (SweepsNamesOfAnyEpoch, Bounds(sweeps=True), (UNREADABLE,)),
    (CheckpointsOfAFencedOwner, Bounds(slots=5), (LOST, UNREADABLE)),
    (WhatLivesAgainIsDead, Bounds(slots=5, snapshots=1), (UNREADABLE,)),
    (OlderEpochsAreNotTakenOver, Bounds(slots=5), (LOST, UNREADABLE)),
]


@pytest.mark.parametrize(
    ("broken", "bounds", "rules"), MUTANTS, ids=[broken.__name__ for broken, _, _ in MUTANTS]
)
def test_every_broken_rule_is_found(
    broken: type[Disk], bounds: Bounds, rules: tuple[str, ...]
) -> None:
    with pytest.raises(Counterexample) as found:
        explore(broken(**vars(bounds)))
    assert found.value.rule in rules, found.value
