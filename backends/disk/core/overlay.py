"""What was written here and is not in the store yet: the newest state of each changed block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count as counted
from itertools import repeat
from typing import NamedTuple

from backends.disk.core.intervals import Intervals
from backends.disk.core.logformat import Entry, Kind

SEAL_BLOCKS = 8192
"""32 MiB: what a record says at most, give or take one write."""
FIRST_BLOCKS = 256
"""1 MiB: what the first record of a server says at most that found a log."""


class Dirty(NamedTuple):
    """A block whose newest bytes lie in the local log at `position`, by entry `seq`."""

    seq: int
    position: int
    checksum: int


@dataclass(frozen=True)
class Changes:
    """What changed since the changes before, up to entry `upto`: holes first, then the blocks."""

    upto: int
    holes: tuple[tuple[int, int], ...]
    blocks: dict[int, Dirty]


class _Batch:
    """What one record will say: coalesced within, never beyond."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.upto = 0
        self.blocks: dict[int, Dirty] = {}
        self.holes = Intervals()

    def forget(self, start: int, count: int) -> None:
        if count > len(self.blocks):
            for block in [b for b in self.blocks if start <= b < start + count]:
                del self.blocks[block]
            return
        for block in range(start, start + count):
            self.blocks.pop(block, None)


class Overlay:
    """Not thread-safe. A row of batches: newer ones hide older ones, and all hide the store; in
    each, blocks hide holes. A batch that is large enough is sealed, so that a backlog reaches the
    store in records of bounded size, and frees the local log one after the other."""

    def __init__(self, *, seal_blocks: int = SEAL_BLOCKS) -> None:
        self._seal_blocks = seal_blocks
        self._batches: list[_Batch] = []
        self._sealed = 0
        """How many batches, from the oldest on, take nothing in any more."""
        self.seq = 0
        """The last entry taken in."""

    def __bool__(self) -> bool:
        return bool(self._batches)

    def __len__(self) -> int:
        return sum(len(batch.blocks) for batch in self._batches)

    @property
    def since(self) -> float | None:
        """When the oldest entry was taken in; None: there is none."""
        return self._batches[0].since if self._batches else None

    def take(self, entry: Entry, now: float = 0.0) -> None:
        """Take in the next entry of the log."""
        if len(self._batches) == self._sealed:
            self._batches.append(_Batch(now))
        batch = self._batches[-1]
        start, count = entry.offset // 4096, entry.length // 4096
        self.seq = batch.upto = entry.seq
        if entry.kind is Kind.DISCARD:
            batch.forget(start, count)
            batch.holes.add(start, count)
            return
        blocks, positions = batch.blocks, counted(entry.position, 4096)
        places = map(Dirty, repeat(entry.seq), positions, entry.checksums)
        blocks.update(zip(counted(start), places, strict=False))
        if len(blocks) >= self._seal_blocks:
            self._sealed = len(self._batches)

    def inherit(self, entries: Iterable[Entry], now: float = 0.0) -> None:
        """Take in what a predecessor left, in batches that begin small and double: however soon
        this server dies, too, one of them has reached the store by then."""
        limit, self._seal_blocks = self._seal_blocks, min(FIRST_BLOCKS, self._seal_blocks)
        for entry in entries:
            sealed = self._sealed
            self.take(entry, now)
            if self._sealed > sealed:
                self._seal_blocks = min(2 * self._seal_blocks, limit)
        self._seal_blocks = limit

    def find(self, block: int) -> Dirty | bool:
        """The block's place in the log; True when it is a hole; False when the store has it."""
        for batch in reversed(self._batches):
            found = batch.blocks.get(block)
            if found is not None:
                return found
            if block in batch.holes:
                return True
        return False

    def over(self, first: int, count: int) -> Iterator[tuple[int, Dirty | None]]:
        """What hides the store from block `first` on: (how far from there, its place in the log or
        None for a hole). A block may come several times: the last time counts."""
        for batch in self._batches:
            if batch.holes:
                for place in range(count):
                    if first + place in batch.holes:
                        yield place, None
            for place, found in enumerate(map(batch.blocks.get, range(first, first + count))):
                if found is not None:
                    yield place, found

    def changes(self) -> Changes:
        """The oldest batch, to be shipped; it takes nothing in any more. The same again until
        `shipped` was called."""
        self._sealed = max(1, self._sealed)
        oldest = self._batches[0]
        return Changes(oldest.upto, tuple(oldest.holes), oldest.blocks)

    def shipped(self, changes: Changes) -> None:
        """What `changes` returned last is in the store."""
        self._sealed -= 1
        self._batches.pop(0)
