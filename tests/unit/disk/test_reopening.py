"""A disk whose server is killed over and over has room for what comes next."""

import itertools

import pytest

from backends.disk.engine import Disk
from backends.disk.head import Heads
from backends.disk.opening import Place, Terms, open_disk
from backends.records_store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import UUID, NoCache, small_sizes

SEGMENTS = 4


def place() -> Place:
    """One node, whose machine stays up."""
    store, files, ids = MemoryStore(), MemoryFiles(), itertools.count(1)
    heads = Heads(StoreRecords(store))
    heads.create(UUID, 40 * 4096)
    return Place(
        store=store,
        heads=heads,
        files=files,
        orphan=lambda binding: files,
        cache=NoCache,
        node="node",
        boot="boot",
        new_id=lambda: next(ids).to_bytes(16, "big"),
        clock=lambda: 0.0,
        wait=lambda count: None,
    )


def reopened(where: Place) -> Disk:
    """As a successor opens it: what was open before is not closed, it was killed."""
    terms = Terms(segment=56 * 1024, segments=SEGMENTS)
    return open_disk(where, UUID, claim=1, terms=terms)


@pytest.mark.parametrize("shipped", ["by the killed one", "by its successor"])
def test_there_is_room_after_any_number_of_kills(shipped: str) -> None:
    """Each one goes on in a new segment of the local log. Those whose entries are all in the
    store must be free again, or a write waits for a shipment of which there is none."""
    where = place()
    with small_sizes():
        for count in range(3 * SEGMENTS):
            disk = reopened(where)
            if shipped == "by its successor":
                disk.ship()
            assert disk.parts.log.room(4096), f"after {count} kills"
            disk.write(0, bytes([count + 1]) * 4096, 2 * count + 2)
            if shipped == "by the killed one":
                assert disk.ship()
        assert reopened(where).read(0, 4096) == bytes([3 * SEGMENTS]) * 4096
