"""Going back to a snapshot: a new owner whose first checkpoint is that of the snapshot.

Nothing is rewritten and no record is undone: the head says from which checkpoint and record the
disk goes on, and that changes in one step, together with the look whether the snapshot is still
there. What was written since the snapshot is gone with that step, and collected like all else.
"""

from collections.abc import Callable

from backends.disk.core import pins
from backends.disk.core.coding import PLAIN, Coder
from backends.disk.core.head import Head, Heads
from backends.disk.core.history import Owner
from backends.disk.journal import Journal
from backends.disk.writing.checkpointing import Checkpointer
from backends.errors import Fenced
from backends.stores.base import Store


def restore_disk(
    store: Store,
    heads: Heads,
    uuid: str,
    name: str,
    *,
    claim: int,
    node: str,
    new_id: Callable[[], bytes],
    wait: Callable[[int], None],
    coder: Coder = PLAIN,
) -> Head:
    """Make the disk again what it was at the snapshot. Whoever has it open is fenced, so see to
    it that nobody has. NotFound when there is no such snapshot; Fenced, Damaged, Unavailable:
    then it was either done or not, never half."""
    wanted = pins.found(heads.read(uuid), name)
    session = new_id()
    head = heads.take(uuid, claim=claim, session=session, node=node)
    owner = Owner(head.epoch, session, node)
    journal = Journal(store, head, owner, new_id=new_id, wait=wait, coder=coder)
    journal.load(head)
    journal.replay()
    journal.fence(lambda tail: 0)
    past = journal.manifest_of(wanted.manifest)
    journal.become(past)

    def still_there(head: Head) -> Head:
        if pins.found(head, name) != wanted:
            raise Fenced(f"snapshot {name} of disk {uuid} was replaced meanwhile")
        return head

    Checkpointer(journal, heads, new_id=new_id).write(still_there)
    return heads.let_go(uuid, owner)
