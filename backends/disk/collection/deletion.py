"""Deleting a disk so that nobody can write it afterwards, however long he slept.

The head says "deleted" first. Then a fence is made in the next free slot of the log, and stays,
with the head: whoever still thinks that he owns the disk finds it there. Everything else goes, but
what clones of the disk need: that goes with the last of them, when it lets go of its base.
"""

from array import array
from collections.abc import Callable
from contextlib import suppress

from backends.disk.core import checkpoint, commit, pins
from backends.disk.core.commit import GENESIS, Commit, Kind
from backends.disk.core.head import CLONE, Head, Heads, State
from backends.disk.core.naming import located, prefix_of
from backends.errors import Damaged, NotFound
from backends.stores.base import Store
from backends.stores.settled import create

_REFETCH = 3


def delete_disk(store: Store, heads: Heads, uuid: str, *, new_id: Callable[[], bytes]) -> None:
    """Delete a disk and its objects. Repeatable; never there: does nothing. Unavailable."""
    head = heads.delete(uuid)
    if head is not None and head.state is State.DELETED:
        _finish(store, heads, head, new_id)


def leave_base(store: Store, heads: Heads, clone: Head, *, new_id: Callable[[], bytes]) -> None:
    """Let go of the disk from which `clone` came: nothing of the clone needs it any more. If it
    was deleted and was there for this clone only, it goes. Repeatable."""
    step = pins.without(pins.clone_name(clone.uuid))
    with suppress(NotFound):  # it was never made
        head = heads.update(clone.base, step)
        if head.state is State.DELETED:
            _finish(store, heads, head, new_id)


def _finish(store: Store, heads: Heads, head: Head, new_id: Callable[[], bytes]) -> None:
    head, prefix = _without_the_dead(heads, head), prefix_of(head.uuid)
    last = _fence(store, head, new_id())
    with suppress(Damaged):  # then all stays until the last clone is gone
        kept = {prefix + last, *_needed(store, head)}
        for item in store.list(prefix):
            if item.key not in kept:
                store.delete(item.key)
    if head.base and not head.pins:
        leave_base(store, heads, head, new_id=new_id)


def _without_the_dead(heads: Heads, head: Head) -> Head:
    """Drop the pins of clones that were deleted: a request to pin may be carried out late."""
    for name in head.pins:
        with suppress(NotFound):
            clone = heads.read(name.removeprefix(CLONE))
            if name.startswith(CLONE) and clone.state is State.DELETED and not clone.pins:
                head = heads.update(head.uuid, pins.without(name))
    return head


def _needed(store: Store, head: Head) -> set[str]:
    """What the disk's clones begin with. Damaged when that cannot be told."""
    prefix, needed = prefix_of(head.uuid), set()
    for key in {pin.manifest for pin in head.pins.values()}:
        manifest = _manifest(store, located(prefix, key), head.uuid)
        live = [found.key for found in manifest.objects.values() if found.live]
        needed |= {located(prefix, k) for k in (key, *live, *manifest.regions.values())}
    return needed


def _manifest(store: Store, key: str, uuid: str) -> checkpoint.Manifest:
    for _ in range(_REFETCH):
        try:
            return checkpoint.decode_manifest(store.get(key), uuid=uuid)
        except NotFound:
            break
        except Damaged:
            continue
    raise Damaged(f"{key} cannot be read")


def _fence(store: Store, head: Head, put_id: bytes) -> str:
    """The key of the fence that ends the log; made if it is not there. It stands where the owner
    would write next: records up to the checkpoint may have been collected, the last ones too."""
    prefix = prefix_of(head.uuid)
    keys = [item.key for item in store.list(f"{prefix}log/")]
    if keys and _ends(store, keys[-1], head.epoch):
        return keys[-1].removeprefix(prefix)
    last = int(keys[-1].rpartition("/")[2], 16) if keys else 0
    seq = max(last, head.checkpoint_seq) + 1
    while True:
        record = Commit(
            *(seq, Kind.FENCE, head.epoch, bytes(16), put_id, GENESIS, head.uuid, ""),
            checksums=array("I"),
        )
        if create(store, prefix + record.key, record.encode()) is None:
            return record.key
        seq += 1


def _ends(store: Store, key: str, epoch: int) -> bool:
    try:
        for _ in range(_REFETCH):
            with suppress(Damaged):
                return commit.epoch_of(store.get(key)) >= epoch
        return commit.epoch_of(store.get(key)) >= epoch
    except NotFound:
        return False
