"""Create, remove, look up and list volumes, with their data made and deleted in the right order.

Every change is one compare-and-swap, so any number of nodes may work on one name at once. Data
exist before a record calls the volume ready and are unreachable before the record is gone:
whatever dies in between, some record says what is left to do, and the next call does it.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from backends.base import O, OnRemove, Removed, Spec, Trashed, Volume
from backends.catalog.entries import Entries
from backends.catalog.entry import Entry, State, checked_uuid
from backends.catalog.removal import Data, Shelves
from backends.catalog.trash import Trashcan
from backends.errors import Busy, Conflict, Damaged, Exists, KedgeError, NotFound, Unavailable
from backends.options import to_strings
from backends.records import Records

T = TypeVar("T")
_TRIES = 20


class Catalog(Generic[O]):
    """The volumes of one profile. `settle` fills in what an option that was left out means;
    `now` tells the time for people (RFC 3339)."""

    def __init__(
        self,
        records: Records,
        options: type[O],
        data: Data[O],
        *,
        now: Callable[[], str],
        settle: Callable[[O], O] = lambda options: options,
    ) -> None:
        self._volumes = Entries(records, "volumes", options)
        self._shelves = Shelves(self._volumes, Entries(records, "trash", options), data)
        self._trash = Trashcan(self._shelves)
        self._defaults = to_strings(options())
        self._data = data
        self._now = now
        self._settle = settle

    def get(self, name: str) -> Volume[O]:
        """The volume, read now. NotFound, or Damaged when its record cannot be read."""
        entry = self._volumes.find(name)
        if entry is None or entry.state is not State.READY:
            raise NotFound(f"no volume {name!r}")
        return entry.volume

    def current(self, volume: Volume[O]) -> Volume[O]:
        """The volume as it is now. NotFound also when another one has its name."""
        found = self.get(volume.name)
        if found.uuid != volume.uuid:
            raise NotFound(f"volume {volume.name!r} was replaced by another of the same name")
        return found

    def volumes(self) -> list[Volume[O]]:
        """All volumes, sorted by name. Those whose record cannot be read are in `damaged`."""
        return [
            entry.volume
            for entry in self._volumes.all()
            if isinstance(entry, Entry) and entry.state is State.READY
        ]

    def damaged(self) -> list[Damaged]:
        """One error for every record of a volume that cannot be read."""
        return [entry for entry in self._volumes.all() if isinstance(entry, Damaged)]

    def uuids(self) -> set[str]:
        """Whatever any readable record names, the trash included."""
        entries = [*self._volumes.all(), *self._shelves.trash.all()]
        return {entry.volume.uuid for entry in entries if isinstance(entry, Entry)}

    def create(self, spec: Spec[O]) -> Volume[O]:
        """As Backend.create says. Kept data of the name become the volume again, if what was
        asked for is not something else; an option at its default was not asked for."""
        checked_uuid(spec.uuid)
        return _repeated(spec.name, lambda: self._create(spec))

    def remove(self, volume: Volume[O]) -> Removed:
        """As Backend.remove says."""
        return _repeated(volume.name, lambda: self._remove(volume))

    def resize(self, volume: Volume[O], options: O) -> Volume[O]:
        """Record new options of a volume that keeps its identity. NotFound when it is gone."""
        return self.amend(volume, lambda _: options)

    def amend(self, volume: Volume[O], step: Callable[[O], O]) -> Volume[O]:
        """Change the options of a volume that keeps its identity, from what they are then.
        NotFound when it is gone."""

        def attempt() -> Volume[O]:
            entry = self._volumes.find(volume.name)
            if entry is None or entry.state is not State.READY or entry.volume.uuid != volume.uuid:
                raise NotFound(f"no volume {volume.name!r}")
            options = step(entry.volume.options)
            changed = replace(entry, volume=replace(entry.volume, options=options))
            return self._volumes.change(volume.name, changed).volume

        return _repeated(volume.name, attempt)

    def abandon(self, name: str, uuid: str) -> None:
        """As Snapshots.abandon says: only a record that still says `creating` is undone."""
        entry = self._volumes.find(name)
        if entry is None or entry.volume.uuid != uuid:
            return
        if entry.state is State.CREATING:
            self._undo(entry)
        elif entry.state is State.REMOVING:
            self._shelves.finish_removal(entry)

    def trashed(self) -> list[Trashed]:
        """As Trash.trashed says."""
        return self._trash.listed()

    def restore(self, uuid: str, name: str) -> None:
        """As Trash.restore says."""
        _repeated(name, lambda: self._trash.restore(uuid, name))

    def purge(self, uuid: str) -> None:
        """As Trash.purge says."""
        _repeated(uuid, lambda: self._trash.purge(uuid))

    def _create(self, spec: Spec[O]) -> Volume[O]:
        """One attempt. What another call has begun is finished as it was begun, and only then
        compared: two that disagree would otherwise undo each other's work without end."""
        while True:
            entry = self._volumes.find(spec.name)
            options = self._settle(spec.options)
            if entry is None:
                volume = Volume(spec.name, spec.uuid, spec.created, options)
                return self._make(self._volumes.add(spec.name, Entry(volume, State.CREATING, "")))
            if entry.state is State.READY:
                _agree(entry.volume, _every(entry.volume.options, options))
                return entry.volume
            if entry.state is State.KEPT:
                _agree(entry.volume, self._explicit(spec.options))
                self._data.make(entry.volume)
                return self._ready(entry)
            if entry.state is State.CREATING:
                self._make(entry)
            else:
                self._shelves.finish_removal(entry)

    def _make(self, entry: Entry[O]) -> Volume[O]:
        """Make the data, then say so. A failure leaves nothing behind, unless the storage is
        away: then the next call finishes."""
        try:
            self._data.make(entry.volume)
        except Unavailable:
            raise
        except Exception as error:
            self._refuse_changed(entry, error)
            with contextlib.suppress(KedgeError):
                self._undo(entry)
            raise
        return self._ready(entry)

    def _refuse_changed(self, entry: Entry[O], error: Exception) -> None:
        """Another call may have finished or undone this creation, and that is why it failed."""
        now = self._volumes.find(entry.volume.name)
        if now is None or now.version != entry.version:
            raise Conflict(f"volume {entry.volume.name!r} was changed by another call") from error

    def _undo(self, entry: Entry[O]) -> None:
        removing = replace(entry, state=State.REMOVING, fate=OnRemove.DELETE)
        self._shelves.finish_removal(self._volumes.change(entry.volume.name, removing))

    def _ready(self, entry: Entry[O]) -> Volume[O]:
        return self._volumes.change(entry.volume.name, replace(entry, state=State.READY)).volume

    def _explicit(self, options: O) -> dict[str, str]:
        """The options that were asked for: those that are not at their default."""
        raw, settled = to_strings(options), to_strings(self._settle(options))
        return {key: settled[key] for key in raw if raw[key] != self._defaults.get(key)}

    def _remove(self, volume: Volume[O]) -> Removed:
        entry = self._volumes.find(volume.name)
        if entry is None or entry.volume.uuid != volume.uuid:
            return Removed(self._trash.fate(volume.uuid))
        if entry.state in (State.READY, State.CREATING):
            entry = self._begin_removal(entry)
        where = self._data.where(entry.volume)
        if entry.state is State.KEPT:
            return Removed(OnRemove.KEEP, where)
        self._shelves.finish_removal(entry)
        return Removed(entry.fate, where if entry.fate is OnRemove.TRASH else "")

    def _begin_removal(self, entry: Entry[O]) -> Entry[O]:
        created = entry.state is State.READY
        fate = entry.volume.options.on_remove if created else OnRemove.DELETE
        state = State.KEPT if fate is OnRemove.KEEP else State.REMOVING
        changed = replace(entry, state=state, fate=fate, removed=self._now())
        return self._volumes.change(entry.volume.name, changed)


def _every(has: object, asked: object) -> dict[str, str]:
    """What was asked for, with `none` for what was not but is there."""
    return dict.fromkeys(to_strings(has), "none") | to_strings(asked)


def _agree(volume: Volume[O], asked: Mapping[str, str]) -> None:
    """Raise Exists, naming every difference, unless the volume is what was asked for."""
    has = to_strings(volume.options)
    found = [
        f"{key}: has {has.get(key, 'none')}, asked {asked[key]}"
        for key in sorted(asked)
        if has.get(key, "none") != asked[key]
    ]
    if found:
        raise Exists(
            f"volume {volume.name!r} exists with other options ({'; '.join(found)}); use these, "
            "another name, or remove it first"
        )


def _repeated(name: str, attempt: Callable[[], T]) -> T:
    """Every attempt starts by reading, so one that lost a race is simply made again."""
    for _ in range(_TRIES):
        with contextlib.suppress(Conflict):
            return attempt()
    raise Busy(f"{name!r} is being changed by others without end; try again")
