"""Objects that nobody committed: uploaded by somebody who died or was fenced before his record.

Only names of an epoch lower than our own are looked at. Their makers can commit nothing any more:
our fence stands in the log, and the head has our epoch. So what our map does not know of them is
known to nobody but a pin, now or later, and it does not matter how late a deletion takes effect,
or whether we were fenced meanwhile: whoever comes after us makes names of higher epochs. A pin may
be of a checkpoint that our map does not come from: its maker was killed before it knew whether the
head was changed, and it was, after his successor had read it. So what those name counts, too.

They must also be a day old, by the store's clock alone: what a person may want to look at is there
for a while. A marker that is written first tells what time it is there.
"""

from backends.disk.core.liveness import Pinned
from backends.disk.core.naming import epoch_of
from backends.disk.journal import Journal
from backends.errors import Damaged
from backends.stores.base import Store

AGE = 86400.0
"""Seconds."""
EVERY = 86400.0
FIRST_AFTER = 900.0
_MARKER = "sweep"


class Sweeper:
    """Sweeps one disk."""

    def __init__(self, journal: Journal, store: Store, *, age: float = AGE) -> None:
        self.swept = 0
        self._journal = journal
        self._store = store
        self._age = age

    def sweep(self, pinned: Pinned) -> int:
        """Delete strays; how many. Unavailable: some may be left for the next time. None while
        the checkpoint of a snapshot cannot be read: nobody knows then what it needs."""
        journal, store = self._journal, self._store
        try:
            found = self._strays(pinned)
        except Damaged:
            return 0
        for key in found:
            store.delete(journal.prefix + key)
            self.swept += 1
        return len(found)

    def _strays(self, pinned: Pinned) -> list[str]:
        journal, store = self._journal, self._store
        marker = journal.prefix + _MARKER
        store.put(marker, b"")
        (now,) = [item.modified for item in store.list(marker) if item.key == marker] or [0.0]
        store.delete(marker)
        known = self._known() | pinned.manifests
        found = [
            key
            for item in [
                *store.list(f"{journal.prefix}ckpt/"),
                *store.list(f"{journal.prefix}data/"),
            ]
            if (key := item.key.removeprefix(journal.prefix)) not in known
            and (epoch := epoch_of(key)) is not None
            and epoch < journal.owner.epoch
            and now - item.modified >= self._age
        ]
        named = self._named(pinned) if found else set()
        return [key for key in found if key not in named]

    def _named(self, pinned: Pinned) -> set[str]:
        """What the checkpoints of snapshots and clones consist of."""
        named: set[str] = set()
        for key in pinned.manifests:
            manifest = self._journal.manifest_of(key)
            named |= {*manifest.regions.values(), *(o.key for o in manifest.objects.values())}
        return named

    def _known(self) -> set[str]:
        journal = self._journal
        with journal.lock:
            known = {found.key for found in journal.map.objects.values()}
            known |= {part.key for part in journal.litter}
            return known | {*journal.regions.values(), journal.manifest}
