"""Looking at a disk without taking it: what the store says, for those who only read."""

from collections.abc import Callable
from dataclasses import replace

from backends.disk.core.coding import Coder
from backends.disk.core.head import Head, State
from backends.disk.core.history import Owner
from backends.disk.core.pins import found
from backends.disk.journal import Journal
from backends.errors import NotFound
from backends.stores.base import Store

NOBODY = Owner(epoch=(1 << 63) - 1, session=bytes(16), node="")
"""Comes after everybody, so that no record is from somebody later; writes nothing."""


def peek(
    store: Store,
    head: Head,
    coder: Coder,
    wait: Callable[[int], None],
    *,
    snapshot: str | None = None,
    until: int | None = None,
) -> Journal:
    """The disk as its last record leaves it, or as a snapshot holds it, or as it was before the
    first record of an epoch above `until` (-1: a disk of zeros), which the checkpoint in the head
    may be behind already: see its tail. `wait`: see Journal.
    NotFound: deleted, or no such snapshot. Damaged. Whoever owns the disk goes on meanwhile, and
    may delete what nobody needs any more a while after this."""
    if head.state in (State.DELETED, State.CLONING):
        raise NotFound(f"disk {head.uuid} is {head.state.value}")
    if snapshot is not None:
        pin = found(head, snapshot)
        head = replace(head, checkpoint=pin.manifest, checkpoint_seq=pin.seq, size=pin.size)
    journal = Journal(store, head, NOBODY, new_id=lambda: bytes(16), wait=wait, coder=coder)
    if until == -1:
        return journal
    journal.load(head)
    if snapshot is None:
        journal.replay(until)
    return journal
