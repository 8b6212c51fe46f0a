"""Copying forward: what still lives in objects that are mostly dead goes into new ones.

A copy is a record like any other, with the same bytes in new places, so readers, replay and
fencing know nothing of it. It is made from what the store has; blocks that were shipped anew while
it was being read are left out at the last moment, under the lock that ships.

Objects that a snapshot will need even when they are empty, and those of a base, are left alone:
copying them would free nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from backends.disk.core import packing, segment
from backends.disk.core.blockmap import Stored, StoredObject
from backends.disk.core.commit import INLINE, DataObject, Extent, Kind
from backends.disk.core.liveness import Pinned, Weight, emptiest, smallest
from backends.disk.core.naming import foreign
from backends.disk.core.overlay import Changes, Dirty
from backends.disk.core.packing import Plan
from backends.disk.journal import Content, Journal
from backends.disk.reading.reader import Reader
from backends.disk.writing.shipping import Shipper
from backends.errors import Damaged, NotFound

EXCESS = 1.3
"""Blocks stored for each one that lives, beyond which copying begins."""
MANY = 4096
"""Small objects beyond which they are put together: each costs a line in every checkpoint."""
_SMALL = 256
_OBJECTS = 2
"""Objects that are filled with what was copied, for one record. Nothing is shipped meanwhile."""


class Compactor:
    """Copies within one disk. `copied` and `bytes` count blocks and what they are, for people."""

    def __init__(
        self,
        journal: Journal,
        reader: Reader,
        shipper: Shipper,
        *,
        excess: float = EXCESS,
        many: int = MANY,
    ) -> None:
        self.copied = 0
        self.trouble = ""
        """Why some objects are left as they are: what is damaged is neither copied nor lost."""
        self._left: set[int] = set()
        self._journal = journal
        self._reader = reader
        self._shipper = shipper
        self._excess = excess
        self._many = many

    def choose(self, pinned: Pinned) -> list[int]:
        """The objects to empty next; none when little would be won."""
        left, room = self._left, _OBJECTS * packing.OBJECT_BLOCKS
        with self._journal.lock:
            weights = [
                Weight(number, found.live, found.blocks, found.born)
                for number, found in self._journal.map.objects.items()
                if found.live
                and found.born > pinned.last
                and number not in left
                and not foreign(found.key)
            ]
        found = emptiest(weights, excess=self._excess, room=room)
        if not found:
            found = smallest(weights, many=self._many, small=_SMALL, room=room)
        return [weight.number for weight in found]

    def prepare(self, numbers: Sequence[int]) -> "Copy | None":
        """Read what lives in these objects and upload it anew. None: nothing does."""
        try:
            return self._prepared(numbers)
        except (Damaged, NotFound) as error:
            self._left |= set(numbers)
            self.trouble = f"not copied: {error.message}"
            return None

    def _prepared(self, numbers: Sequence[int]) -> "Copy | None":
        places: dict[int, Stored] = {}
        for number in numbers:
            places.update(self._living(number))
        if not places:
            return None
        changes = Changes(0, (), {b: Dirty(0, 0, s.checksum) for b, s in places.items()})
        plan = packing.plan(changes)

        def read(blocks: Sequence[int]) -> Iterator[bytes]:
            return iter(self._reader.read([places[block] for block in blocks]))

        objects = tuple(self._shipper.upload(plan, read))
        return Copy(plan, objects, tuple(read(plan.inline)), places)

    def commit(self, copy: "Copy") -> bool:
        """Make the copy part of the history, but for blocks that have changed meanwhile. Nobody
        may ship during the call. False: not done, because a late record came before it."""
        journal = self._journal
        content, moved = copy.content(journal)
        last = journal.tail.last
        if not moved or not journal.append(Kind.DATA, content, last.upto if last else 0):
            return False
        self.copied += moved
        return True

    def _living(self, number: int) -> Iterator[tuple[int, Stored]]:
        journal = self._journal
        with journal.lock:
            holder = journal.map.objects.get(number)
            holder = replace(holder) if holder else None
        if holder is None:
            return
        place = 0
        for start, count in self._extents(number, holder):
            journal.load_regions(start, count)
            with journal.lock:
                for block, found in enumerate(journal.map.find(start, count), start):
                    if found and (found.number, found.place) == (number, place):
                        yield block, found
                    place += 1

    def _extents(self, number: int, holder: StoredObject) -> Sequence[tuple[int, int]]:
        """Which blocks an object was made of, in their order: it says so itself."""
        journal = self._journal
        if holder.key.startswith("log/"):
            record = journal.record(holder.born)
            return [(e.start, e.count) for e in record.extents if e.source == INLINE]
        cipher = journal.coder.cipher
        return journal.checked_part(
            holder.key, holder.start, lambda body: segment.decode(body, cipher).extents
        )


class Copy:
    """Blocks that are uploaded anew and not yet part of the history."""

    def __init__(
        self,
        plan: Plan,
        objects: Sequence[DataObject],
        inline: Sequence[bytes],
        places: dict[int, Stored],
    ) -> None:
        self._plan = plan
        self._objects = tuple(objects)
        self._inline = tuple(inline)
        self._places = places

    def content(self, journal: Journal) -> tuple[Content, int]:
        """What a record would say now, and how many blocks it would move. The record itself holds
        only those: how many its frames hold follows from what it says."""
        extents: list[Extent] = []
        moved: list[int] = []
        inline: list[bytes] = []
        for source, part in [*enumerate(self._plan.parts), (INLINE, self._plan.inline)]:
            for place, block in enumerate(part):
                if not self._unchanged(journal, block):
                    continue
                moved.append(block)
                if source == INLINE:
                    inline.append(self._inline[place])
                found = Extent(block, 1, source, len(inline) - 1 if source == INLINE else place)
                last = extents[-1] if extents else None
                if last and _follows(last, found):
                    extents[-1] = replace(last, count=last.count + 1)
                else:
                    extents.append(found)
        sums = self._plan.sums(moved)
        return Content(self._objects, tuple(extents), sums, tuple(inline)), len(moved)

    def _unchanged(self, journal: Journal, block: int) -> bool:
        known = self._places[block]
        with journal.lock:
            (found,) = journal.map.find(block, 1)
        return found is not None and (found.number, found.place) == (known.number, known.place)


def _follows(last: Extent, found: Extent) -> bool:
    """Whether a block continues an extent, on the disk and where it is kept."""
    end = (last.source, last.start + last.count, last.first + last.count)
    return end == (found.source, found.start, found.first)
