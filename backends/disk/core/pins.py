"""How pins come into a head and leave it: steps from one head to the next. Pure.

Each is one compare-and-swap of the head, whoever owns the disk: a pin is made of the checkpoint
that is in the head, or copied from another pin (`liveness.py` says why it must be one of the two).
"""

from collections.abc import Callable
from dataclasses import replace

from backends.disk.core.head import CLONE, Head, Pin, State
from backends.errors import Exists, InUse, Invalid, NotFound

MOST = 200
"""Pins of a disk: its head has to stay a small record."""


def clone_name(uuid: str) -> str:
    """The name of the pin that a clone holds."""
    return CLONE + uuid


def snapshots(head: Head) -> dict[str, Pin]:
    """The pins that people made, by name."""
    return {name: pin for name, pin in head.pins.items() if not name.startswith(CLONE)}


def snapshot(name: str, created: str, call: str) -> Callable[[Head], Head]:
    """Pin the checkpoint in the head. There already: Exists, unless this very call did it."""

    def step(head: Head) -> Head:
        if (there := head.pins.get(name)) is not None:
            if there.call == call:
                return head
            raise Exists(f"there is a snapshot {name} already")
        return _added(head, name, replace(_of_checkpoint(head), created=created, call=call))

    return step


def snapshot_at_rest(name: str, created: str, call: str) -> Callable[[Head], Head]:
    """As `snapshot`, of a disk that nobody has open: its checkpoint holds everything. InUse."""

    def step(head: Head) -> Head:
        _at_rest(head)
        return snapshot(name, created, call)(head)

    return step


def clone(source: str, uuid: str) -> Callable[[Head], Head]:
    """Pin for a clone what the snapshot `source` pins, or, if it is empty, the disk as it was left
    by the last one who had it open. NotFound, InUse."""

    def step(head: Head) -> Head:
        if clone_name(uuid) in head.pins:
            return head
        if head.state is State.DELETED:
            raise NotFound(f"disk {head.uuid} was deleted")
        if source:
            pin = found(head, source)
        else:
            _at_rest(head)
            pin = _of_checkpoint(head)
        return _added(head, clone_name(uuid), pin)

    return step


def kept(name: str, pin: Pin) -> Callable[[Head], Head]:
    """A snapshot of a checkpoint that its maker wrote for nothing else, in the step in which the
    head is given the checkpoint that both come from. Exists."""

    def step(head: Head) -> Head:
        if head.pins.get(name, pin) != pin:
            raise Exists(f"there is a snapshot {name} already; remove it first")
        return _added(head, name, pin)

    return step


def without(name: str) -> Callable[[Head], Head]:
    """Take a pin away; not there: nothing."""

    def step(head: Head) -> Head:
        return replace(head, pins={key: pin for key, pin in head.pins.items() if key != name})

    return step


def withdrawn(name: str, call: str) -> Callable[[Head], Head]:
    """Take back the pin that this call made, and no other's."""

    def step(head: Head) -> Head:
        there = head.pins.get(name)
        return without(name)(head) if there and there.call == call else head

    return step


def found(head: Head, name: str) -> Pin:
    """The snapshot of that name. NotFound."""
    if name not in snapshots(head):
        raise NotFound(f"there is no snapshot {name}")
    return head.pins[name]


def _of_checkpoint(head: Head) -> Pin:
    if not head.checkpoint:
        raise Invalid(f"disk {head.uuid} has nothing to take a snapshot of: it was never written")
    return Pin(head.checkpoint_seq, head.checkpoint, head.size)


def _added(head: Head, name: str, pin: Pin) -> Head:
    if len(head.pins) >= MOST:
        raise Invalid(f"there are {MOST} snapshots and clones of the volume; remove some first")
    return replace(head, pins={**head.pins, name: pin})


def _at_rest(head: Head) -> None:
    if head.state is State.ATTACHED:
        raise InUse(
            f"node {head.node} has the volume open, or did not close it; take the snapshot there, "
            "or mount and unmount the volume first"
        )
