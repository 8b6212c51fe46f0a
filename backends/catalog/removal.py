"""The second half of a removal, shared by whoever finds it unfinished."""

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from backends.base import O, OnRemove, Volume, VolumeOptions
from backends.catalog.entries import Entries
from backends.catalog.entry import Entry, State
from backends.errors import Conflict

O_contra = TypeVar("O_contra", bound=VolumeOptions, contravariant=True)


class Data(Protocol[O_contra]):
    """What a backend brings to the catalog: how the data of one volume are made and deleted.
    Both are repeated after a crash, and may run on two nodes at once."""

    def make(self, volume: Volume[O_contra], /) -> None:
        """Make the data, durable on return. There already: left untouched."""

    def delete(self, volume: Volume[O_contra], /) -> None:
        """Put the data out of reach for good; space may come back later. Gone: does nothing."""

    def where(self, volume: Volume[O_contra], /) -> str:
        """Where the data lie, for people."""


@dataclass(frozen=True)
class Shelves(Generic[O]):
    """Where everything about the volumes of one profile is kept."""

    volumes: Entries[O]
    trash: Entries[O]
    data: Data[O]

    def finish_removal(self, entry: Entry[O]) -> None:
        """Do what is left of a removal: data first, the record that names them last."""
        if entry.fate is OnRemove.TRASH:
            self._to_trash(entry)
        else:
            self.data.delete(entry.volume)
            self._forget_trash(entry)
        try:
            self.volumes.delete(entry.volume.name, entry)
        except Conflict:
            return  # another call finished it

    def _to_trash(self, entry: Entry[O]) -> None:
        """A record that is there was left by a restoration that ended in this very volume."""
        uuid = entry.volume.uuid
        trashed = replace(entry, state=State.TRASHED)
        old = self.trash.find(uuid)
        if old is None:
            self.trash.add(uuid, trashed)
        elif old.state is not State.TRASHED:
            self.trash.change(uuid, replace(trashed, version=old.version))

    def _forget_trash(self, entry: Entry[O]) -> None:
        old = self.trash.find(entry.volume.uuid)
        if old is not None:
            self.trash.delete(entry.volume.uuid, old)
