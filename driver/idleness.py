"""Since when has nobody had each volume mounted, and is that long enough? Pure.

Docker forgets references: after a crash it mounts again under the same ID, a failed Unmount is
never repeated, a timed-out Mount is never undone. So a reference that no process matches for long
enough is taken for forgotten.
"""

from collections.abc import Collection
from dataclasses import dataclass

from driver.ledger import Promise
from driver.lifecycle import State


@dataclass(frozen=True)
class Patience:
    """With a volume that nobody has mounted, in seconds."""

    unheld: float = 5.0
    """No mount ID holds it."""
    vanished: float = 10.0
    """Processes had it mounted after the last Mount, and are gone."""
    unseen: float = 300.0
    """No process has shown since the last Mount: an engine may copy an image's files into a new
    volume for minutes before any container starts."""


class Idleness:
    """Remembers what was seen of each volume. Times are seconds on one clock."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def observe(
        self, promise: Promise, *, seen: bool, asked: float, now: float, left: bool = False
    ) -> bool:
        """One look at one volume, last asked for at `asked`; True when to let it go. `left`: who
        asked has unmounted since, so its process came and went between two looks."""
        uuid = promise.uuid
        if seen:
            self._seen[uuid] = now
            self._since.pop(uuid, None)
            return False
        since = max(self._since.setdefault(uuid, now), asked)
        came = left or (uuid in self._seen and self._seen[uuid] >= asked)
        return now - since >= self._needed(promise, came=came)

    def keep(self, uuids: Collection[str]) -> None:
        """Forget every volume but these."""
        for known in (self._since, self._seen):
            for uuid in known.keys() - uuids:
                del known[uuid]

    def _needed(self, promise: Promise, *, came: bool) -> float:
        if promise.entry.state in (State.DETACHING, State.FENCED):
            return 0.0
        if not promise.entry.holders:
            return self._patience.unheld
        return self._patience.vanished if came else self._patience.unseen
