"""Writing a checkpoint of the map and putting it into the head."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from backends.disk.core import checkpoint
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.head import Head, Heads
from backends.disk.core.liveness import Litter
from backends.disk.core.naming import checkpoint_name, made_at
from backends.disk.core.regions import Region
from backends.disk.journal import Journal
from backends.errors import Damaged

Step = Callable[[Head], Head]


@dataclass(frozen=True)
class _Copy:
    manifest: Manifest
    changed: dict[int, Region]


class Checkpointer:
    """Checkpoints of one disk. One call at a time. `pool`: for its parts, side by side: nothing is
    shipped while they are on their way."""

    def __init__(
        self,
        journal: Journal,
        heads: Heads,
        *,
        new_id: Callable[[], bytes],
        pool: Executor | None = None,
    ) -> None:
        self._journal = journal
        self._heads = heads
        self._new_id = new_id
        self._pool = pool

    def due(self, commits: int) -> bool:
        """Whether so many records have been made since the last checkpoint."""
        return self._journal.tail.seq - self._journal.checkpointed >= commits

    def write(self, also: Step = lambda head: head) -> Head:
        """Write a checkpoint of the map as it is now and put it into the head, which `also` may
        change in the same step. Nothing new since the last one: only that step. Fenced."""
        journal = self._journal
        with journal.lock:
            if journal.manifest and journal.checkpointed == journal.tail.seq:
                return self._change(also)
            copy = self._copy()
        try:
            manifest, key = self._store_parts(copy)
            head = self._commit(key, manifest.tail.seq, also)
        except BaseException:
            with journal.lock:
                journal.map.dirty |= set(copy.changed)
            raise
        with journal.lock:
            journal.regions, journal.litter = dict(manifest.regions), set(manifest.litter)
            journal.manifest, journal.checkpointed = key, manifest.tail.seq
        return head

    def store(self) -> str:
        """Write a checkpoint of the map that the head does not name; the key of its manifest."""
        with self._journal.lock:
            copy = self._copy()
        return self._store_parts(copy)[1]

    def confirm(self) -> None:
        """Fenced when this owner holds the disk no more."""
        self._change(lambda head: head)

    def _copy(self) -> _Copy:
        """The map as it is. Call with the lock held."""
        journal, found = self._journal, self._journal.map
        changed = {
            index: region.copy() for index, region in found.regions.items() if index in found.dirty
        }
        found.dirty = set()
        objects = {number: replace(held) for number, held in found.objects.items()}
        manifest = Manifest(
            *(journal.uuid, journal.tail, found.next_object, dict(journal.regions), objects),
            tuple(journal.litter),
        )
        return _Copy(manifest, changed)

    def _store_parts(self, copy: _Copy) -> tuple[Manifest, str]:
        journal, manifest = self._journal, copy.manifest
        seq = manifest.tail.seq
        name = checkpoint_name(seq, journal.owner.epoch, self._new_id())
        changed = {index: f"{name}/{index:08x}" for index in copy.changed}

        regions = {**manifest.regions, **changed}
        old = set(manifest.regions.values()) - set(regions.values())
        gone = {Litter(key, made_at(key), seq) for key in old}
        if journal.manifest:
            gone.add(Litter(journal.manifest, journal.checkpointed, seq))
        manifest = replace(manifest, regions=regions, litter=(*manifest.litter, *gone))

        def put(index: int | None) -> None:
            if index is None:
                journal.put_sealed(f"{name}/manifest", manifest.encode())
                return
            body = checkpoint.encode_region(journal.uuid, index, seq, copy.changed[index])
            journal.put_sealed(changed[index], body)

        for _ in (self._pool.map if self._pool else map)(put, [*changed, None]):
            pass
        return manifest, f"{name}/manifest"

    def _commit(self, key: str, seq: int, also: Step) -> Head:
        def step(head: Head) -> Head:
            return also(replace(head, checkpoint=key, checkpoint_seq=seq, boundary=seq))

        return self._change(step)

    def _change(self, step: Step) -> Head:
        """Damaged when the head names an earlier checkpoint than it did before it was read: only we
        change it, and somebody else may do so while it is on its way to us."""
        journal = self._journal
        known = journal.checkpointed

        def checked(head: Head) -> Head:
            if head.checkpoint_seq < known:
                raise Damaged(
                    f"the checkpoint of disk {head.uuid} is that of record {head.checkpoint_seq}, "
                    f"and was that of record {known}: the bucket was put back to an "
                    "earlier state while the disk was used; unmount it, and see what kedge fsck "
                    "says"
                )
            return step(head)

        return journal.patiently(lambda: self._heads.change(journal.uuid, journal.owner, checked))
