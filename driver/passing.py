"""Snapshots that are only taken for a clone, written down so that none outlives it.

A note is on disk before the snapshot is taken, and goes with it. One that nobody works on was left
by a service that died, or by storage that was away: then the snapshot is removed, and what was
begun of the clone is undone by the storage itself, unless it is complete.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backends.errors import HostError
from driver import state_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """`snapshot` of the volume `source` is taken for the clone `name` with this uuid; `options`
    are those of the clone, as it was begun."""

    profile: str
    source: str
    snapshot: str
    name: str
    uuid: str
    created: str
    options: dict[str, str]


class Notes:
    """`home`: a directory of this node's state. Whoever works on a clone has its name's lock."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def write(self, note: Note) -> None:
        """HostError when the disk refuses: then nothing may be taken."""
        try:
            state_file.write(self._path(note), asdict(note))
        except OSError as error:
            raise HostError(f"{error}; make the state directory writable") from error

    def forget(self, note: Note) -> None:
        """Its snapshot is gone."""
        self._path(note).unlink(missing_ok=True)

    def left(self) -> list[Note]:
        """All of them, as far as they can be read."""
        paths = sorted(self._home.glob("*.json")) if self._home.is_dir() else []
        found = [_read(path) for path in paths]
        return [note for note in found if note is not None]

    def _path(self, note: Note) -> Path:
        return self._home / f"{note.uuid}.json"


def _read(path: Path) -> Note | None:
    try:
        note = Note(**json.loads(path.read_text()))
        return replace(note, options={str(k): str(v) for k, v in note.options.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.error("%s cannot be read (%s); a snapshot clone-... may be left", path, error)
        return None
