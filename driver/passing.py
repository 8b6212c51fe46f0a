"""Snapshots that are only taken for a clone, written down so that none outlives it.

A note is on disk before the snapshot is taken, and goes with it. One that nobody works on was left
by a service that died, or by storage that was away: then the snapshot is removed, and what was
begun of the clone is undone by the storage itself, unless it is complete.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from backends.errors import HostError
from driver import state_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Note:
    """`snapshot` of the volume `source` is taken for the clone `name` with this uuid."""

    profile: str
    source: str
    snapshot: str
    name: str
    uuid: str


@contextmanager
def reported() -> Iterator[None]:
    """An error of the disk as one of ours."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{error}; make the state directory writable") from error


class Notes:
    """`home`: a directory of this node's state. Whoever works on a clone has its name's lock."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def write(self, note: Note) -> None:
        """HostError when the disk refuses: then nothing may be taken."""
        with reported():
            state_file.write(self._path(note), asdict(note))

    def forget(self, note: Note) -> None:
        """Its snapshot is gone. HostError when the disk refuses."""
        with reported():
            self._path(note).unlink(missing_ok=True)

    def left(self) -> list[Note]:
        """All of them, as far as they can be read. HostError when the disk refuses."""
        with reported():
            paths = sorted(self._home.glob("*.json")) if self._home.is_dir() else []
        found = [_read(path) for path in paths]
        return [note for note in found if note is not None]

    def _path(self, note: Note) -> Path:
        return self._home / f"{note.uuid}.json"


def _read(path: Path) -> Note | None:
    try:
        read = json.loads(path.read_text())
        return Note(**{field: str(value) for field, value in read.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.error("%s cannot be read (%s); a snapshot clone-... may be left", path, error)
        return None
