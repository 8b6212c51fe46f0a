"""The trash: volumes that were removed but whose data are still there.

Restoring is decided when the volume's record is written; purging when the trash record says so.
A restoration that has begun can only be finished under its own name, so that a purge or a second
restoration never has to guess how far it came.
"""

from dataclasses import dataclass, replace
from typing import Generic

from backends.base import O, OnRemove, Trashed
from backends.catalog.entry import Entry, State, known_uuid
from backends.catalog.removal import Shelves
from backends.errors import Busy, Conflict, Damaged, Exists, NotFound
from backends.names import volume_name


@dataclass(frozen=True)
class Trashcan(Generic[O]):
    """The trashed volumes of one profile. Every method raises Conflict when another call changed
    what it read; it may then be called again."""

    shelves: Shelves[O]

    def fate(self, uuid: str) -> OnRemove:
        """What became of a volume that has no record any more."""
        return OnRemove.DELETE if self.shelves.trash.find(uuid) is None else OnRemove.TRASH

    def listed(self) -> list[Trashed]:
        """What can be restored or purged, oldest removal first."""
        found = [
            entry
            for entry in self.shelves.trash.all()
            if isinstance(entry, Entry) and not self._came_back(entry)
        ]
        return [
            Trashed(entry.volume.name, entry.volume.uuid, entry.volume.created, entry.removed)
            for entry in sorted(found, key=lambda entry: (entry.removed, entry.volume.name))
        ]

    def restore(self, uuid: str, name: str) -> None:
        """Bring a trashed volume back as `name`. Repeated: finishes, or does nothing."""
        name = volume_name(name)
        entry = self._settled(uuid)
        if entry is None or entry.state is State.PURGING:
            if self._is(name, uuid):
                return
            raise NotFound(f"nothing in the trash has the uuid {uuid}")
        if entry.state is State.TRASHED:
            entry = self._begin(entry, name)
        if entry.name != name:
            raise Busy(
                f"a restoration of {uuid} as {entry.name!r} has begun; finish it under that name"
            )
        self._bring_back(entry)

    def purge(self, uuid: str) -> None:
        """Delete the data for good. Never those of a volume that any record still names."""
        entry = self._settled(uuid)
        if entry is None:
            return
        if entry.state is State.RESTORING:
            raise Busy(
                f"a restoration of {uuid} as {entry.name!r} has begun; finish it before purging"
            )
        if self._named(uuid):
            self.shelves.trash.delete(uuid, entry)
            return
        entry = self.shelves.trash.change(uuid, replace(entry, state=State.PURGING))
        self.shelves.data.delete(entry.volume)
        self.shelves.trash.delete(uuid, entry)

    def _settled(self, uuid: str) -> Entry[O] | None:
        """The trash record, once the removal that put it there and a restoration that brought it
        back are finished."""
        entry = self.shelves.trash.find(known_uuid(uuid))
        if entry is None:
            return None
        origin = self.shelves.volumes.find(entry.volume.name)
        if origin and origin.volume.uuid == uuid and origin.state is State.REMOVING:
            self.shelves.finish_removal(origin)
        if self._came_back(entry):
            self.shelves.trash.delete(uuid, entry)
            return None
        return entry

    def _begin(self, entry: Entry[O], name: str) -> Entry[O]:
        if self.shelves.volumes.find(name) is not None:
            raise Exists(f"a volume {name!r} exists; restore under another name")
        changed = replace(entry, state=State.RESTORING, name=name)
        return self.shelves.trash.change(entry.volume.uuid, changed)

    def _bring_back(self, entry: Entry[O]) -> None:
        volume = replace(entry.volume, name=entry.name)
        try:
            self.shelves.volumes.add(volume.name, Entry(volume, State.READY, ""))
        except Conflict:
            if not self._is(volume.name, volume.uuid):
                self.shelves.trash.change(volume.uuid, replace(entry, state=State.TRASHED, name=""))
                raise Exists(
                    f"a volume {volume.name!r} exists; restore under another name"
                ) from None
        self.shelves.trash.delete(volume.uuid, entry)

    def _came_back(self, entry: Entry[O]) -> bool:
        """A restoration was cut off after its decision."""
        return entry.state is State.RESTORING and self._is(entry.name, entry.volume.uuid)

    def _is(self, name: str, uuid: str) -> bool:
        found = self.shelves.volumes.find(name)
        return found is not None and found.volume.uuid == uuid and found.state is not State.REMOVING

    def _named(self, uuid: str) -> bool:
        """Whether any volume's record names `uuid`. One that cannot be read may: Damaged."""
        entries = self.shelves.volumes.all()
        for entry in entries:
            if isinstance(entry, Damaged):
                raise entry
        return any(isinstance(e, Entry) and e.volume.uuid == uuid for e in entries)
