"""What was written here and is not in the store yet: the newest state of each changed block."""

from dataclasses import dataclass

from backends.disk.intervals import Intervals
from backends.disk.logformat import Entry, Kind


@dataclass(frozen=True)
class Dirty:
    """A block whose newest bytes lie in the local log at `position`, by entry `seq`."""

    seq: int
    position: int
    checksum: int


@dataclass(frozen=True)
class Changes:
    """The overlay as it was after entry `upto`: holes first, then the blocks."""

    upto: int
    holes: tuple[tuple[int, int], ...]
    blocks: dict[int, Dirty]


class Overlay:
    """Not thread-safe. Blocks hide holes, holes hide the store."""

    def __init__(self) -> None:
        self._blocks: dict[int, Dirty] = {}
        self._holes = Intervals()
        self._shipping = Intervals()
        self.seq = 0
        """The last entry taken in."""

    def __bool__(self) -> bool:
        return bool(self._blocks or self._holes or self._shipping)

    def __len__(self) -> int:
        return len(self._blocks)

    def take(self, entry: Entry) -> None:
        """Take in the next entry of the log."""
        start, count = entry.offset // 4096, entry.length // 4096
        self.seq = entry.seq
        if entry.kind is Kind.DISCARD:
            self._forget(start, count)
            self._holes.add(start, count)
            return
        for place, checksum in enumerate(entry.checksums):
            self._blocks[start + place] = Dirty(entry.seq, entry.position + place * 4096, checksum)

    def find(self, block: int) -> Dirty | bool:
        """The block's place in the log; True when it is a hole; False when the store has it."""
        found = self._blocks.get(block)
        if found is not None:
            return found
        return block in self._holes or block in self._shipping

    def changes(self) -> Changes:
        """Everything, to be shipped. Not again before `shipped` or `kept` was called."""
        self._shipping, self._holes = self._holes, Intervals()
        return Changes(self.seq, tuple(self._shipping), dict(self._blocks))

    def kept(self) -> None:
        """What `changes` returned was not shipped."""
        for start, count in self._holes:
            self._shipping.add(start, count)
        self._holes, self._shipping = self._shipping, Intervals()

    def shipped(self, changes: Changes) -> None:
        """What `changes` returned is in the store."""
        self._shipping = Intervals()
        for block, dirty in changes.blocks.items():
            if self._blocks.get(block) is dirty:
                del self._blocks[block]

    def _forget(self, start: int, count: int) -> None:
        if count > len(self._blocks):
            for block in [b for b in self._blocks if start <= b < start + count]:
                del self._blocks[block]
            return
        for block in range(start, start + count):
            self._blocks.pop(block, None)
