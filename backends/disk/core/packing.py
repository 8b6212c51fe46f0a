"""From changed blocks to data objects and the record that commits them. Pure."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from backends.disk.core.commit import HOLE, INLINE, Extent
from backends.disk.core.overlay import Changes
from backends.disk.core.segment import runs

OBJECT_BLOCKS = 2048
"""8 MiB, give or take a half: few requests, and a lost one costs little."""
INLINE_BLOCKS = 256
"""Up to 1 MiB travels in the record itself: one request instead of two."""


@dataclass(frozen=True)
class Plan:
    """What a record will say, and which blocks each data object will hold."""

    changes: Changes
    parts: tuple[tuple[int, ...], ...]
    """Sorted block numbers of each data object; empty when all travel inline."""
    inline: tuple[int, ...]

    def checksums(self) -> "array[int]":
        """One per block, in the order of the extents."""
        return self.sums([block for part in (*self.parts, self.inline) for block in part])

    def extents(self) -> tuple[Extent, ...]:
        """Holes first: blocks written since lie over them."""
        found = [Extent(start, count, HOLE, 0) for start, count in self.changes.holes]
        for index, part in enumerate(self.parts):
            found += _placed(part, index)
        return (*found, *_placed(self.inline, INLINE))

    def sums(self, part: Sequence[int]) -> "array[int]":
        """The checksum of each of these blocks."""
        return array("I", [self.changes.blocks[block].checksum for block in part])


def plan(changes: Changes) -> Plan:
    """Few blocks inline, many in objects of the same size, as near to OBJECT_BLOCKS as can be: then
    there is one for each 8 MiB on average, where a short one at the end would be one more."""
    blocks = sorted(changes.blocks)
    if len(blocks) <= INLINE_BLOCKS:
        return Plan(changes, (), tuple(blocks))
    count = max(1, (len(blocks) + OBJECT_BLOCKS // 2) // OBJECT_BLOCKS)
    cuts = [len(blocks) * number // count for number in range(count + 1)]
    return Plan(changes, tuple(tuple(blocks[at:end]) for at, end in pairwise(cuts)), ())


def _placed(blocks: Sequence[int], source: int) -> list[Extent]:
    found, place = [], 0
    for start, count in runs(blocks):
        found.append(Extent(start, count, source, place))
        place += count
    return found
