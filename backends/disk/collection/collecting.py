"""Deleting what no head, snapshot, clone or reader needs any more; `liveness.py` has the rule.

What a fenced collector deletes is what it decided on under a head that it read while it was the
owner. The rule holds for every head that can follow that one, so a fenced collector is harmless,
as is a request of its that takes effect late; it decides nothing more once it reads the head.
"""

from collections.abc import Callable
from dataclasses import replace

from backends.disk.collection.deletion import leave_base
from backends.disk.core.head import Head, Heads
from backends.disk.core.liveness import Pinned
from backends.disk.core.naming import foreign
from backends.disk.journal import Journal
from backends.errors import Unavailable
from backends.stores.base import Store

GRACE = 300.0
"""Seconds between the checkpoint that no longer needs an object and its deletion: for readers that
have looked up a place and not fetched it yet."""
AT_ONCE = 64
"""Objects deleted in one go, so that foreground requests come in between."""
HURRIED = 0.5
"""Seconds after which that ends if there is something to ship: each deletion is a request."""
LOOK_SECONDS = 300.0
"""How often the head is read again while snapshots hold something back."""


class Collector:
    """Collection of one disk. One call at a time; `clock` is monotonic."""

    def __init__(
        self,
        journal: Journal,
        heads: Heads,
        store: Store,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], bytes],
        grace: float = GRACE,
    ) -> None:
        self.held_back = 0
        """Objects that only snapshots and clones need."""
        self.pinned = Pinned((), frozenset())
        """The pins that were last seen in the head."""
        self._journal = journal
        self._heads = heads
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._grace = grace
        self._looked = clock()
        self._due: dict[str, float] = {}
        self._numbers: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Objects that will be deleted."""
        return len(self._due)

    def doom(self, head: Head) -> None:
        """Decide anew what may go, under the head that this owner has just read or written."""
        journal, pinned, now = self._journal, Pinned.of(head), self._clock()
        last, before, self._due, self.pinned = head.checkpoint_seq, self._due, {}, pinned
        self._looked, self.held_back = now, 0
        with journal.lock:
            for number, found in journal.map.dead():
                if found.died > last:
                    continue
                if pinned.need(found.born, found.died):
                    self.held_back += 1
                    continue
                self._numbers[found.key] = number
                self._due[found.key] = before.get(found.key, now + self._grace)
            for part in journal.litter:
                if part.died > last:
                    continue
                if part.key in pinned.manifests or pinned.need(part.born, part.died):
                    self.held_back += 1
                else:
                    self._due[part.key] = before.get(part.key, now + self._grace)

    def look(self) -> None:
        """Read the head now and then: snapshots may have been removed by others. Fenced."""
        journal = self._journal
        if self.held_back and self._clock() - self._looked >= LOOK_SECONDS:
            self.doom(self._heads.change(journal.uuid, journal.owner, lambda head: head))

    def collect(self, hurried: Callable[[], bool] = lambda: False) -> int:
        """Delete what is due; how many objects. What cannot be deleted now stays due, and so does
        what is left after HURRIED seconds if somebody waits then."""
        now, done = self._clock(), 0
        for key in [key for key, due in self._due.items() if due <= now][:AT_ONCE]:
            if self._clock() - now >= HURRIED and hurried():
                break
            if not foreign(key):
                try:
                    self._store.delete(self._journal.prefix + key)
                except Unavailable:
                    break
            with self._journal.lock:
                self._journal.litter = {p for p in self._journal.litter if p.key != key}
                self._journal.map.objects.pop(self._numbers.pop(key, 0), None)
            del self._due[key]
            done += 1
        if done:
            self._leave_base()
        return done

    def _leave_base(self) -> None:
        """A clone that uses nothing of its base any more lets go of it."""
        journal = self._journal
        if not journal.base:
            return
        with journal.lock:
            keys = [found.key for found in journal.map.objects.values()]
            keys += [*journal.regions.values(), *(part.key for part in journal.litter)]
        if any(map(foreign, keys)):
            return
        owned = self._heads.change(journal.uuid, journal.owner, lambda head: head)
        leave_base(self._store, self._heads, owned, new_id=self._new_id)
        self._heads.change(journal.uuid, journal.owner, lambda head: replace(head, base=""))
        journal.base = ""
