"""A new disk that begins as another one was: nothing is copied but a table of contents.

1. the clone's head, which nobody can open yet and which names the base
2. a pin in the head of the base: from now on collection and removal leave alone what it needs
3. the clone's first checkpoint: what the pinned one says, with every object named in full
4. the clone's head: open to everybody

A crash between two of them: the same call finishes, or `delete_disk` takes back what there is.
"""

from collections.abc import Callable
from dataclasses import replace

from backends.disk.collection.deletion import delete_disk
from backends.disk.core import checkpoint, pins
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.coding import PLAIN, Coder
from backends.disk.core.head import Head, Heads, Pin, State
from backends.disk.core.history import Tail
from backends.disk.core.naming import checkpoint_name, located, prefix_of
from backends.errors import Damaged, Exists, NotFound
from backends.stores.base import Store

FIRST = f"{checkpoint_name(0, 0, bytes(8))}/manifest"
"""Where the first checkpoint of every clone is."""
_REFETCH = 3


def clone_disk(
    store: Store,
    heads: Heads,
    base: str,
    source: str,
    *,
    uuid: str,
    size: int,
    new_id: Callable[[], bytes],
    coder: Coder = PLAIN,
) -> Head:
    """Make disk `uuid` from snapshot `source` of disk `base`, or from the whole of it as it was
    closed when that is empty; at least `size` bytes large. Its data key is that of the base, to
    which `coder` belongs. Repeatable. NotFound, InUse, Exists."""
    origin = heads.read(base)
    begun = replace(
        origin,
        uuid=uuid,
        size=size,
        base=base,
        state=State.CLONING,
        ready=True,
        epoch=0,
        session="",
        node="",
        checkpoint="",
        checkpoint_seq=0,
        boundary=0,
        pins={},
    )
    head = heads.begin(begun)
    if head.state is not State.CLONING:
        return head
    if head.base != base:
        raise Exists(f"disk {uuid} is being made from another one")
    pin = heads.update(base, pins.clone(source, uuid)).pins[pins.clone_name(uuid)]
    key = prefix_of(uuid) + FIRST
    store.put(key, coder.seal(key, _first(store, base, pin, uuid, coder).encode()))
    head = heads.update(uuid, lambda head: _opened(head, max(size, pin.size)))
    if head.state is State.DELETED:
        delete_disk(store, heads, uuid, new_id=new_id)  # also what was made since it was deleted
        raise NotFound(f"disk {uuid} was deleted while it was made")
    return head


def _opened(head: Head, size: int) -> Head:
    if head.state is not State.CLONING:
        return head
    return replace(head, state=State.DETACHED, checkpoint=FIRST, size=size)


def _first(store: Store, base: str, pin: Pin, uuid: str, coder: Coder) -> Manifest:
    prefix = prefix_of(base)
    past = _manifest(store, prefix + pin.manifest, base, coder)
    return Manifest(
        uuid=uuid,
        tail=Tail(),
        next_object=past.next_object,
        regions={index: located(prefix, key) for index, key in past.regions.items()},
        objects={
            number: replace(found, key=located(prefix, found.key), born=0, died=0)
            for number, found in past.objects.items()
            if found.live
        },
    )


def _manifest(store: Store, key: str, uuid: str, coder: Coder) -> Manifest:
    for _ in range(_REFETCH):
        try:
            return checkpoint.decode_manifest(coder.open(key, store.get(key)), uuid=uuid)
        except Damaged:
            continue
    return checkpoint.decode_manifest(coder.open(key, store.get(key)), uuid=uuid)
