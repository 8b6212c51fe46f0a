"""What may still be needed, as intervals of the log. Pure.

Everything in the store is needed from one record until another: [born, died). A pin (a snapshot, or
a clone that begins there) needs the disk as it was after one record, so it needs what lived then:
one comparison, however many snapshots there are, and none of them stops collection.

It is safe to delete what (1) died at or before the checkpoint in the head and (2) lived at no pin
that was in the head then, however late that deletion happens and whoever does it, because

    a pin is made of the checkpoint that is in the head at that moment, or copied from another pin,
    both within one change of the head;

so a pin that comes later is behind (1), or copies one that was there all the time. Nothing else
makes dead things live: a restoration goes back to a pin, and only while it is there.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from backends.disk.core.head import Head


@dataclass(frozen=True)
class Pinned:
    """The pins of a head: at which records, and which manifests they name."""

    seqs: tuple[int, ...]
    manifests: frozenset[str]

    @classmethod
    def of(cls, head: Head) -> "Pinned":
        """Those in the head now."""
        pins = head.pins.values()
        return cls(
            tuple(sorted({pin.seq for pin in pins})), frozenset(pin.manifest for pin in pins)
        )

    def need(self, born: int, died: int) -> bool:
        """Whether a pin lies in [born, died)."""
        place = bisect_left(self.seqs, born)
        return place < len(self.seqs) and self.seqs[place] < died

    @property
    def last(self) -> int:
        """The last pin; -1 when there is none."""
        return self.seqs[-1] if self.seqs else -1


@dataclass(frozen=True)
class Litter:
    """A part of an earlier checkpoint that may still be there; needed in [born, died)."""

    key: str
    born: int
    died: int


@dataclass(frozen=True)
class Weight:
    """How full an object is, for the choice of what to copy forward."""

    number: int
    live: int
    blocks: int
    born: int


def emptiest(weights: Iterable[Weight], *, excess: float, room: int) -> list[Weight]:
    """Which objects to copy forward next: the emptiest first, about `room` live blocks of them;
    none as long as all together hold at most `excess` times the blocks that live."""
    known = list(weights)
    stored, live = sum(w.blocks for w in known), sum(w.live for w in known)
    if stored <= excess * live:
        return []
    chosen: list[Weight] = []
    for weight in sorted(known, key=lambda w: (w.live / w.blocks, w.born)):
        if weight.live == weight.blocks or (chosen and room < weight.live):
            break
        chosen.append(weight)
        room -= weight.live
    return chosen


def smallest(weights: Iterable[Weight], *, many: int, small: int, room: int) -> list[Weight]:
    """Small objects to be made one, when there are more than `many` of them: the oldest first."""
    few = sorted((w for w in weights if w.blocks <= small), key=lambda w: w.born)
    if len(few) <= many:
        return []
    chosen: list[Weight] = []
    for weight in few:
        if chosen and room < weight.live:
            break
        chosen.append(weight)
        room -= weight.live
    return chosen
