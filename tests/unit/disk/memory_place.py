"""A node in memory, for which no time passes and which never had the disk."""

from collections.abc import Callable

from backends.disk.core.head import Heads
from backends.disk.opening import Place
from backends.records.store import StoreRecords
from backends.stores.base import Store
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import NoCache


def memory_place(store: Store, node: str, new_id: Callable[[], bytes]) -> Place:
    """Where a disk of `store` is opened."""
    return Place(
        store=store,
        heads=Heads(StoreRecords(store)),
        files=MemoryFiles(),
        orphan=lambda binding: MemoryFiles(),
        cache=NoCache,
        node=node,
        boot="boot",
        new_id=new_id,
        clock=lambda: 0.0,
        wait=lambda count: None,
    )
