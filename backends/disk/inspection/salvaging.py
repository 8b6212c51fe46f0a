"""What can be had of a disk whose log is damaged: it as it was before the first record that is
missing or cannot be read. That is a state which the disk had, whole; what later records say does
not follow it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backends.disk.core.coding import Coder
from backends.disk.core.head import Head
from backends.disk.core.intervals import Intervals
from backends.disk.inspection.peeking import NOBODY
from backends.disk.journal import Journal
from backends.errors import Damaged
from backends.stores.base import Store

_SHOWN = 8


@dataclass(frozen=True)
class Salvaged:
    """`view`: the disk after the last record that is whole, behind which there are records `behind`
    that nothing follows from; `fault`: what is wrong with the next one, empty when the log is
    whole."""

    view: Journal
    fault: str
    behind: tuple[int, ...]

    @property
    def first_lost(self) -> int:
        """The record that is missing or damaged, if one is."""
        return self.view.tail.seq + 1

    def lost(self) -> list[str]:
        """In words, for people: what is not in the view. Empty: nothing that the store knows of."""
        if not self.fault:
            return []
        later = [seq for seq in self.behind if seq != self.first_lost]
        more = f", nor what {len(later)} later records say" if later else ""
        return [
            f"{self.fault}. This is the volume as it was before record {self.first_lost}: what "
            f"that one changed is not in it{more}"
        ]


def salvage(store: Store, head: Head, coder: Coder, wait: Callable[[int], None]) -> Salvaged:
    """Look for it; changes nothing. Damaged when there is no such state, because the checkpoint
    with which it would begin is not there."""
    view = Journal(store, head, NOBODY, new_id=lambda: bytes(16), wait=wait, coder=coder)
    view.load(head)
    return replayed(view)


def replayed(view: Journal) -> Salvaged:
    """The same of a disk whose checkpoint is loaded."""
    fault = ""
    try:
        view.replay()
    except Damaged as error:
        fault = error.message
    return Salvaged(view, fault, view.behind() if fault else ())


class Unreadable:
    """Blocks that an export could not read, and that are zeros in it."""

    def __init__(self) -> None:
        self._blocks = Intervals()
        self._why: dict[str, None] = {}

    def add(self, first: int, count: int, why: str) -> None:
        """`count` blocks from `first` on."""
        self._blocks.add(first, count)
        if len(self._why) < _SHOWN:
            self._why[why] = None

    def lost(self) -> list[str]:
        """In words, for people; every range, so that a person can tell which files it meets."""
        ranges = [
            f"bytes {start * 4096} to {(start + count) * 4096 - 1} could not be read and are zeros"
            for start, count in self._blocks
        ]
        return [*self._why, *ranges] if ranges else []
