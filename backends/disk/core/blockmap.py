"""Where every block of the disk is in the store, and how much of each object still lives.

Per region of 1 GiB a location (object id and place, 0 for "never written") and a checksum for each
block (`regions`). Regions that were not touched since the last checkpoint need not be in memory:
`missing` names those that an operation wants, the caller loads them.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from backends.disk.core.coding import Frames
from backends.disk.core.commit import HOLE, INLINE, Commit, Kind
from backends.disk.core.regions import PLACE, REGION, Region
from backends.errors import Damaged

_FEW = 8
"""Blocks of an extent that are changed one by one: quicker than slices of arrays."""
_MASK = (1 << PLACE) - 1


@dataclass
class StoredObject:
    """An object that holds blocks of the disk: a data object, or a log record (fences excepted:
    they are never deleted, so nobody counts them). It lives from record `born` until record `died`,
    the first one after which no block is left in it (0: it still lives)."""

    key: str
    start: int
    blocks: int
    born: int
    live: int = 0
    died: int = 0
    frames: Frames | None = None
    """How its blocks are coded; None: they lie there as they are."""


class Stored(NamedTuple):
    """One block in the store: block `place` of an object."""

    number: int
    holder: StoredObject
    place: int
    checksum: int


class BlockMap:
    """The map after some record. Not thread-safe."""

    def __init__(self, size: int) -> None:
        """`size` in blocks."""
        self.size = size
        self.regions: dict[int, Region] = {}
        self.absent: set[int] = set()
        """Regions that are in a checkpoint but not loaded."""
        self.dirty: set[int] = set()
        """Regions that changed since the last checkpoint."""
        self.objects: dict[int, StoredObject] = {}
        self.next_object = 1

    def missing(self, start: int, count: int) -> list[int]:
        """Regions that have to be loaded before these blocks are looked at or changed."""
        last = (start + count - 1) // REGION
        return [index for index in range(start // REGION, last + 1) if index in self.absent]

    def load(self, index: int, region: Region) -> None:
        """Give the map a region that it lacks."""
        self.regions[index] = region
        self.absent.discard(index)

    def find(self, start: int, count: int) -> Iterator[Stored | None]:
        """Where each block is; None for those that were never written or were discarded."""
        objects = self.objects
        for at, checksum in self._run(start, count) if count > 1 else (self._one(start),):
            if at:
                number = at >> PLACE
                yield Stored(number, objects[number], at & _MASK, checksum)
            else:
                yield None

    def apply(self, commit: Commit) -> None:
        """Take over what a record changes. Every region it touches must be loaded."""
        if commit.first_object != self.next_object:
            raise Damaged(
                f"log record {commit.seq} of {commit.uuid} counts objects from "
                f"{commit.first_object}, not {self.next_object}"
            )
        self._adopt_objects(commit)
        taken = 0
        for extent in commit.extents:
            if extent.start + extent.count > self.size:
                raise Damaged(f"log record {commit.seq} of {commit.uuid} reaches past the disk")
            if extent.source == HOLE:
                self._fill(commit.seq, extent.start, extent.count, 0, None)
                continue
            index = len(commit.objects) if extent.source == INLINE else extent.source
            at = (commit.first_object + index) << PLACE | extent.first
            checksums = commit.checksums[taken : taken + extent.count]
            taken += extent.count
            if extent.count <= _FEW:
                for done, checksum in enumerate(checksums):
                    self._put(commit.seq, extent.start + done, at + done, checksum)
                continue
            self._fill(commit.seq, extent.start, extent.count, at, checksums)
        self._bury(commit)

    def stored(self) -> int:
        """Bytes that the blocks of all objects take in the store, those that died included."""
        return sum(
            found.frames.size if found.frames else found.blocks * 4096
            for found in self.objects.values()
        )

    def dead(self) -> Iterable[tuple[int, StoredObject]]:
        """The objects in which no block is left."""
        return [(number, found) for number, found in self.objects.items() if not found.live]

    def _one(self, block: int) -> tuple[int, int]:
        index, place = divmod(block, REGION)
        region = self.regions.get(index)
        return region.find(place) if region else (0, 0)

    def _run(self, start: int, count: int) -> Iterator[tuple[int, int]]:
        """Location and checksum of each block."""
        while count:
            index, place = divmod(start, REGION)
            size = min(count, REGION - place)
            region = self.regions.get(index)
            if region is None:
                yield from repeat((0, 0), size)
            else:
                yield from region.run(place, size)
            start, count = start + size, count - size

    def _adopt_objects(self, commit: Commit) -> None:
        for index, new in enumerate(commit.objects):
            self.objects[commit.first_object + index] = StoredObject(
                *(new.name.key, new.start, new.blocks, commit.seq), frames=commit.frames(index)
            )
        self.next_object = commit.first_object + len(commit.objects)
        if commit.kind is not Kind.FENCE:
            self.objects[self.next_object] = StoredObject(
                *(commit.key, commit.inline_start, commit.inline_blocks, commit.seq),
                frames=commit.frames(len(commit.objects)),
            )
            self.next_object += 1

    def _bury(self, commit: Commit) -> None:
        """Objects of this record that hold nothing: every block was superseded within it."""
        for number in range(commit.first_object, self.next_object):
            if not self.objects[number].live:
                self.objects[number].died = commit.seq

    def _put(self, seq: int, block: int, at: int, checksum: int) -> None:
        """What `_fill` does, of one block: databases change most of them one by one."""
        index, place = divmod(block, REGION)
        old = self._changing(index).put(place, at, checksum)
        self.objects[at >> PLACE].live += 1
        if old:
            self._leave(seq, old >> PLACE, 1)

    def _fill(
        self, seq: int, start: int, count: int, at: int, checksums: "array[int] | None"
    ) -> None:
        done = 0
        while done < count:
            index, place = divmod(start + done, REGION)
            size = min(count - done, REGION - place)
            if not at and index not in self.regions and index not in self.absent:
                done += size
                continue
            sums = checksums[done : done + size] if checksums else None
            old = self._changing(index).fill(place, size, at and at + done, sums)
            if at:
                self.objects[at >> PLACE].live += size
            for number, gone in old.items():
                if number:
                    self._leave(seq, number, gone)
            done += size

    def _changing(self, index: int) -> Region:
        """A region that is about to change."""
        if index in self.absent:
            raise KeyError(index)
        if index not in self.regions:
            self.regions[index] = Region(REGION)
        self.dirty.add(index)
        return self.regions[index]

    def _leave(self, seq: int, number: int, gone: int) -> None:
        """So many blocks of an object live no longer."""
        holder = self.objects[number]
        holder.live -= gone
        holder.died = 0 if holder.live else seq
