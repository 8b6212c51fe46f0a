"""Writing a checkpoint, and collecting what no checkpoint and no snapshot needs any more.

An object may be deleted when a checkpoint that does not need it is certainly in the head: whoever
takes the disk over begins there or later, and dead objects never come to life again. So it does
not matter how late a deletion takes effect, or whether its sender still owns the disk.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.disk import checkpoint
from backends.disk.blockmap import Region, StoredObject
from backends.disk.checkpoint import Manifest
from backends.disk.head import Head, Heads
from backends.disk.journal import Journal
from backends.errors import Unavailable
from backends.stores.base import Store

GRACE = 900.0
"""Seconds between the checkpoint that no longer needs an object and its deletion."""


@dataclass(frozen=True)
class _Snapshot:
    manifest: Manifest
    changed: dict[int, Region]


class Checkpointer:
    """Checkpoints and collection of one disk. One call at a time; `clock` is monotonic."""

    def __init__(
        self,
        journal: Journal,
        heads: Heads,
        store: Store,
        *,
        new_id: Callable[[], bytes],
        clock: Callable[[], float],
        grace: float = GRACE,
    ) -> None:
        self._journal = journal
        self._heads = heads
        self._store = store
        self._new_id = new_id
        self._clock = clock
        self._grace = grace
        self._due: dict[str, float] = {}
        self._numbers: dict[str, int] = {}

    def due(self, commits: int) -> bool:
        """Whether so many records have been made since the last checkpoint."""
        return self._journal.tail.seq - self._journal.checkpointed >= commits

    def write(self) -> Head:
        """Write a checkpoint of the map as it is now and put it into the head. Fenced."""
        journal = self._journal
        with journal.lock:
            snapshot = self._snapshot()
        try:
            manifest, key = self._store_parts(snapshot)
            head = self._commit(key, manifest.tail.seq)
        except BaseException:
            with journal.lock:
                journal.map.dirty |= set(snapshot.changed)
            raise
        with journal.lock:
            journal.regions, journal.litter = dict(manifest.regions), set(manifest.litter)
            journal.manifest, journal.checkpointed = key, manifest.tail.seq
        self.doom(head)
        return head

    def doom(self, head: Head) -> None:
        """Note what the checkpoint in the head, which is `head`, does not need."""
        journal, now = self._journal, self._clock()
        with journal.lock:
            for number, found in journal.map.dead():
                if found.died <= head.checkpoint_seq and not _pinned(found, head):
                    self._numbers[found.key] = number
                    self._due.setdefault(found.key, now + self._grace)
            if not head.pins:
                for key in journal.litter:
                    self._due.setdefault(key, now + self._grace)

    def collect(self) -> int:
        """Delete what is due; how many objects. What cannot be deleted now stays due."""
        now, done = self._clock(), 0
        for key in [key for key, due in self._due.items() if due <= now]:
            try:
                self._store.delete(self._journal.prefix + key)
            except Unavailable:
                break
            with self._journal.lock:
                self._journal.litter.discard(key)
                self._journal.map.objects.pop(self._numbers.pop(key, 0), None)
            del self._due[key]
            done += 1
        return done

    def _snapshot(self) -> _Snapshot:
        """The map as it is. Call with the lock held."""
        journal, found = self._journal, self._journal.map
        changed = {
            index: Region(array("Q", region.places), array("I", region.checksums))
            for index, region in found.regions.items()
            if index in found.dirty
        }
        found.dirty = set()
        objects = {number: replace(held) for number, held in found.objects.items()}
        manifest = Manifest(
            *(journal.uuid, journal.tail, found.next_object, dict(journal.regions), objects),
            tuple(journal.litter),
        )
        return _Snapshot(manifest, changed)

    def _store_parts(self, snapshot: _Snapshot) -> tuple[Manifest, str]:
        journal, manifest = self._journal, snapshot.manifest
        name = f"ckpt/{manifest.tail.seq:016x}-{self._new_id().hex()}"
        regions = dict(manifest.regions)
        for index, region in snapshot.changed.items():
            regions[index] = f"{name}/{index:08x}"
            body = checkpoint.encode_region(journal.uuid, index, manifest.tail.seq, region)
            journal.put(regions[index], body)
        old = set(manifest.regions.values()) - set(regions.values())
        old |= {journal.manifest} - {""}
        manifest = replace(manifest, regions=regions, litter=(*manifest.litter, *old))
        journal.put(f"{name}/manifest", manifest.encode())
        return manifest, f"{name}/manifest"

    def _commit(self, key: str, seq: int) -> Head:
        def step(head: Head) -> Head:
            return replace(head, checkpoint=key, checkpoint_seq=seq, boundary=seq)

        journal = self._journal
        return journal.patiently(lambda: self._heads.change(journal.uuid, journal.owner, step))


def _pinned(found: StoredObject, head: Head) -> bool:
    """Whether a snapshot was taken while the object lived."""
    return any(found.born <= seq < found.died for seq in head.pins.values())
