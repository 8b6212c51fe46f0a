"""Volumes made from others: `-o from=VOLUME[@SNAPSHOT]`.

Storage only copies from a snapshot, which does not change while it does. For `from=VOLUME` one is
taken for the occasion, and removed when the clone is there, or cannot come any more (`passing`).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from backends.errors import Busy, InvalidOptions, KedgeError, NotFound, Unavailable
from backends.options import to_strings
from backends.progress import part
from backends.snapshots import Snapshots, Source
from driver.complaints import Complaints
from driver.inventory import Known
from driver.parts import Parts
from driver.passing import Note, Notes
from driver.snapshots import Snapshotting

log = logging.getLogger(__name__)
LOCK_SECONDS = 0.1
"""A volume that is busy is in good hands."""
NOT_INHERITED = frozenset({"from", "snapshots", "on_remove"})
"""Options that say what shall become of one volume, not what it is."""


class Cloning:
    """What Docker's Create needs to know about the source of a new volume."""

    def __init__(self, parts: Parts, snapshots: Snapshotting, notes: Notes) -> None:
        self._parts = parts
        self._snapshots = snapshots
        self._notes = notes
        self._complaints = Complaints(log)

    def profile(self, name: str, options: Mapping[str, str]) -> str | None:
        """The profile of the source; None: the volume has none. InvalidOptions when the request
        says another, or names a source that is not there."""
        if "from" not in options:
            return None
        known = self._known(name, options["from"])
        asked = options.get("backend")
        if asked and asked != known.profile:
            raise InvalidOptions(
                f"volume {name}",
                [f"from={options['from'][:200]!r} is a volume of {known.profile}, not of {asked}"],
            )
        return known.profile

    @contextmanager
    def prepared(self, name: str, wanted: Mapping[str, str], uuid: str) -> Iterator[dict[str, str]]:
        """The options that say all the storage must know: what was left out is as the source has
        it, and the source is a snapshot. Of the clone with this uuid; its lock is held."""
        if "from" not in wanted:
            yield dict(wanted)
            return
        known, source = self._known(name, wanted["from"]), _source(name, wanted["from"])
        has = to_strings(self._parts.inventory.fresh(known).options)
        filled = {**{k: v for k, v in has.items() if k not in NOT_INHERITED}, **wanted}
        if source.snapshot:
            yield filled
            return
        passing = f"clone-{uuid[-8:]}"
        filled["from"] = str(Source(source.volume, passing))
        note = Note(known.profile, source.volume, passing, name, uuid)
        self._notes.write(note)
        yield from self._taken(note, filled)

    def _taken(self, note: Note, filled: dict[str, str]) -> Iterator[dict[str, str]]:
        """The options of the clone, while its snapshot is there. Where the storage went away, the
        clone may be half made, and the note stays."""
        try:
            with part(0, 2):
                self._snapshots.take(note.source, note.snapshot)
            with part(1, 2):
                yield filled
        except Unavailable:
            raise
        except KedgeError:
            self._remove(note)
            raise
        self._remove(note)

    def _remove(self, note: Note) -> None:
        try:
            self._drop(note)
            self._notes.forget(note)
        except KedgeError as error:
            log.warning(
                "snapshot %s of volume %s, taken for a clone, is still there (%s); it is tried "
                "again every minute",
                note.snapshot,
                note.source,
                error,
            )

    def tidy(self) -> None:
        """Tidy up after every clone that nobody works on any more. What cannot be done now is
        complained of, and done in another round."""
        for note in self._notes.left():
            subject = f"snapshot {note.snapshot} of volume {note.source}, taken for a clone"
            try:
                with self._parts.locks.hold(note.name, "tidying up", LOCK_SECONDS):
                    self._take_back(note)
                self._complaints.well(subject)
            except Busy:
                continue
            except KedgeError as error:
                self._complaints.trouble(subject, error)

    def begin_anew(self, name: str) -> None:
        """What an earlier, unfinished clone of this name left is taken away, as far as that is
        possible now; complete, it stays. The name's lock is held."""
        for note in self._notes.left():
            if note.name == name:
                with suppress(KedgeError):
                    self._take_back(note)

    def _take_back(self, note: Note) -> None:
        """Nothing is ever made here: the clone may be complete, and removed since."""
        backend = self._parts.backends.get(note.profile)
        if isinstance(backend, Snapshots):
            backend.abandon(note.name, note.uuid)
        self._drop(note)
        self._notes.forget(note)

    def _drop(self, note: Note) -> None:
        with suppress(NotFound):
            self._snapshots.remove(note.source, note.snapshot)

    def _known(self, name: str, text: str) -> Known:
        try:
            known = self._parts.inventory.resolve(_source(name, text).volume)
        except NotFound as error:
            raise InvalidOptions(f"volume {name}", [f"from={text[:200]!r}: {error}"]) from error
        self._snapshots.backend(known.profile)
        return known


def _source(name: str, text: str) -> Source:
    try:
        return Source.parse(text)
    except ValueError as error:
        raise InvalidOptions(f"volume {name}", [f"from={text[:200]!r} {error}"]) from None


def agrees(key: str, asked: str, has: str | None) -> bool:
    """Whether a volume that has one option of this value is what was asked for. One that was made
    from what a volume held, and not from a snapshot of it, has on record which was taken for it."""
    if key != "from" or has is None or "@" in asked:
        return asked == has
    return Source.parse(has).volume == asked
