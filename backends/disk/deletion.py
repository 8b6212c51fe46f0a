"""Deleting a disk so that nobody can write it afterwards, however long he slept.

The head says "deleted" first. Then a fence is made in the next free slot of the log, and stays,
with the head: whoever still thinks that he owns the disk finds it there. Everything else goes.
"""

from array import array
from collections.abc import Callable

from backends.disk import commit
from backends.disk.commit import GENESIS, Commit, Kind
from backends.disk.head import Heads, State
from backends.errors import NotFound
from backends.stores.base import Store
from backends.stores.settled import create


def delete_disk(store: Store, heads: Heads, uuid: str, *, new_id: Callable[[], bytes]) -> None:
    """Delete a disk and its objects. Repeatable; never there: does nothing. Unavailable."""
    head = heads.delete(uuid)
    if head is None or head.state is not State.DELETED:
        return
    prefix = f"disks/{uuid}/"
    last = _fence(store, prefix, uuid, head.epoch, new_id())
    for item in store.list(prefix):
        if item.key != prefix + last:
            store.delete(item.key)


def _fence(store: Store, prefix: str, uuid: str, epoch: int, put_id: bytes) -> str:
    """The key of the fence that ends the log; made if it is not there."""
    keys = [item.key for item in store.list(f"{prefix}log/")]
    if keys and _ends(store, keys[-1], uuid, epoch):
        return keys[-1].removeprefix(prefix)
    seq = int(keys[-1].rpartition("/")[2], 16) + 1 if keys else 1
    while True:
        record = Commit(
            *(seq, Kind.FENCE, epoch, bytes(16), put_id, GENESIS, uuid, ""), checksums=array("I")
        )
        if create(store, prefix + record.key, record.encode()) is None:
            return record.key
        seq += 1


def _ends(store: Store, key: str, uuid: str, epoch: int) -> bool:
    try:
        body = store.get(key)
    except NotFound:
        return False
    return commit.decode(body, uuid=uuid, seq=int(key.rpartition("/")[2], 16)).epoch >= epoch
