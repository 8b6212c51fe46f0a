"""Which volumes exist, from memory: Docker asks often, at once, and must never wait for storage.

The backends are the truth; this is what they said last. A name that is not in memory is looked up
in the backends, because another node may have made it a moment ago.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.base import Backend, Volume
from backends.errors import KedgeError, NotFound, Unavailable


@dataclass(frozen=True)
class Known:
    """A volume and the profile it lives in."""

    profile: str
    volume: Volume[Any]


class Inventory:
    """Thread-safe. Reads never touch a backend except `resolve`, `fresh` and `refresh`."""

    def __init__(self, backends: Mapping[str, Backend[Any, Any]]) -> None:
        self._backends = backends
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._changes = 0
        self._changed: dict[str, int] = {}
        self._unheard = dict.fromkeys(backends, "it was not asked yet")

    def unheard(self) -> dict[str, str]:
        """By profile, why its volumes could not be listed when they were asked for last."""
        with self._lock:
            return dict(self._unheard)

    def find(self, name: str) -> Known | None:
        """What memory says."""
        with self._lock:
            return self._known.get(name)

    def all(self) -> list[Known]:
        """Every volume in memory, sorted by name."""
        with self._lock:
            return [self._known[name] for name in sorted(self._known)]

    def resolve(self, name: str) -> Known:
        """The volume, from memory or else from the backends. NotFound only when every backend
        is certain; Unavailable when one could not be asked and no other has it."""
        if known := self.find(name):
            return known
        unsure: list[str] = []
        for profile, backend in self._backends.items():
            try:
                volume = backend.get(name)
            except NotFound:
                continue
            except KedgeError as error:
                unsure.append(f"{profile}: {error}")
                continue
            return self.add(profile, volume)
        if unsure:
            raise Unavailable(f"whether volume {name} exists is not known now ({unsure[0]})")
        raise NotFound(f"no such volume: {name}")

    def fresh(self, known: Known) -> Volume[Any]:
        """The volume as the storage has it now: another node may have removed or changed it."""
        name = known.volume.name
        try:
            volume = self._backends[known.profile].get(name)
        except NotFound:
            self.discard(name)
            raise
        self.add(known.profile, volume)
        return volume

    def add(self, profile: str, volume: Volume[Any]) -> Known:
        """Remember a volume that was just made or found."""
        known = Known(profile, volume)
        with self._lock:
            self._note(volume.name)
            self._known[volume.name] = known
        return known

    def discard(self, name: str) -> None:
        """Forget a volume that was just removed or found missing."""
        with self._lock:
            self._note(name)
            self._known.pop(name, None)

    def refresh(self, profile: str) -> None:
        """Ask one backend for all its volumes. What was added or discarded here while it
        answered is newer than its answer and stays. Raises what the backend raises."""
        with self._lock:
            before = self._changes
        try:
            volumes = self._backends[profile].volumes()
        except Exception as error:
            with self._lock:
                self._unheard[profile] = str(error)
            raise
        with self._lock:
            self._unheard.pop(profile, None)
            newer = {name for name, change in self._changed.items() if change > before}
            mine = {n for n, known in self._known.items() if known.profile == profile}
            for name in mine - {volume.name for volume in volumes} - newer:
                del self._known[name]
            for volume in volumes:
                taken = self._known.get(volume.name)
                if volume.name not in newer and (taken is None or taken.profile == profile):
                    self._known[volume.name] = Known(profile, volume)

    def _note(self, name: str) -> None:
        self._changes += 1
        self._changed[name] = self._changes
        if len(self._changed) > 10_000:  # keep the newest half: a refresh takes seconds at most
            for old in sorted(self._changed, key=self._changed.__getitem__)[:5_000]:
                del self._changed[old]
