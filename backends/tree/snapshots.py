"""Snapshots of volumes below one root, by copy.

    <root>/snapshots/<uuid>/<name>/       one snapshot
        about.json                        when it was taken, how large it is
        image | data                      the copy
    <root>/snapshots/<uuid>/.new-*        one that is being made; belongs to nobody after a crash

A snapshot gets its name, by one rename, when all of it is durable. Everything is reached through
the volume's own source: who is cut off from the volume is cut off here.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backends.ambient import new_id
from backends.base import Attachment, Volume
from backends.claims import Claim
from backends.errors import Damaged, Exists, NotFound
from backends.host import files
from backends.host.copying import used
from backends.snapshots import Snapshot
from backends.tree.options import Layout, TreeOptions
from backends.tree.removal import Removal
from backends.tree.source import Source, opened
from backends.tree.store import Store

FORMAT = 1
_ABOUT = "about.json"


class Copied(Protocol):
    """What both layouts do for snapshots. The source of the volume is open during each call."""

    def copy_out(
        self, volume: Volume[TreeOptions], into: Path, attachment: Attachment | None
    ) -> None:
        """Put a durable copy of the data into the directory `into`. InUse when they cannot be
        copied while attached."""

    def copy_back(self, volume: Volume[TreeOptions], kept: Path) -> None:
        """Put a copy of what `copy_out` put into `kept` in the place of the data, at once."""

    def size(self, kept: Path) -> int | None:
        """How much the volume could hold, told by a copy."""


@dataclass(frozen=True)
class TreeSnapshots:
    """See `backends.snapshots.Snapshots`. `node` tells what this node began from what others do."""

    store: Store
    source: Source
    removal: Removal
    layouts: Mapping[Layout, Copied]
    node: str

    def create(
        self,
        volume: Volume[TreeOptions],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        """As `snapshot_create` says."""
        if attachment is None:
            self.source.refuse_use(volume.uuid)
        with opened(self.source, volume.uuid):
            home = home_of(self.source, volume.uuid)
            files.make_directory(home, 0o700)
            if (home / name).exists():
                raise Exists(f"volume {volume.name} has a snapshot {name!r}; choose another name")
            with self._staged(volume.uuid, home) as new:
                layout = self._layout(volume)
                layout.copy_out(volume, new, attachment)
                snapshot = Snapshot(name, created, layout.size(new), used(new))
                files.write_once(new / _ABOUT, _encoded(snapshot), temporary=f".{_ABOUT}")
                _named(new, home / name, volume.name)
        return snapshot

    def all(self, volume: Volume[TreeOptions]) -> Sequence[Snapshot]:
        """As `snapshot_list` says."""
        home = self.store.snapshots / volume.uuid
        try:
            names = [path.name for path in home.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []
        found = [read for name in names if (read := _read(home / name)) is not None]
        return sorted(found, key=lambda one: (one.created, one.name))

    def remove(self, volume: Volume[TreeOptions], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_remove` says."""
        self.removal.put_away(self.store.snapshots / volume.uuid / name, f"{volume.uuid}.snapshot")
        self.removal.reap()

    def restore(self, volume: Volume[TreeOptions], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_restore` says."""
        self.source.refuse_use(volume.uuid)
        with opened(self.source, volume.uuid):
            kept = kept_at(home_of(self.source, volume.uuid), volume.name, name)
            self._layout(volume).copy_back(volume, kept)
        self.removal.reap()

    def _layout(self, volume: Volume[TreeOptions]) -> Copied:
        return self.layouts[volume.options.settled().layout or Layout.DIRECTORY]

    @contextlib.contextmanager
    def _staged(self, uuid: str, home: Path) -> Iterator[Path]:
        """A directory to make a snapshot in. What is left of it after the block is put away, and
        so is what an earlier service of this node left."""
        for left in home.glob(".new-*"):
            if re.fullmatch(rf"\.new-[0-9a-f-]{{36}}-{re.escape(self.node)}", left.name):
                self._put_away(uuid, home, left.name)
        new = home / f".new-{new_id()}-{self.node}"
        new.mkdir(0o700)
        try:
            yield new
        finally:
            if new.exists():
                self._put_away(uuid, home, new.name)
            self.removal.reap()

    def _put_away(self, uuid: str, home: Path, name: str) -> None:
        self.removal.put_away(home / name, f"{uuid}.unfinished")


def home_of(source: Source, uuid: str, of: str = "") -> Path:
    """Where the snapshots of a volume lie, seen through its source; or those of the volume `of`,
    seen through the source of `uuid`."""
    return source.directory(uuid).parent.parent / "snapshots" / (of or uuid)


def kept_at(home: Path, volume: str, name: str) -> Path:
    """Where one snapshot lies. NotFound."""
    kept = home / name
    if not name or not kept.is_dir():
        raise NotFound(f"volume {volume} has no snapshot {name!r}; see `kedge snapshot ls`")
    return kept


def _named(new: Path, place: Path, volume: str) -> None:
    files.sync_directory(new)
    try:
        new.rename(place)
    except OSError as error:
        if place.is_dir():  # another node was faster
            raise Exists(f"volume {volume} has a snapshot {place.name!r}") from error
        raise
    files.sync_directory(place.parent)


def _encoded(snapshot: Snapshot) -> bytes:
    content = {
        "format": FORMAT,
        "created": snapshot.created,
        "size": snapshot.size,
        "used": snapshot.used,
    }
    return json.dumps(content).encode()


def _read(kept: Path) -> Snapshot | None:
    """What is said about a snapshot; None: it has just been removed."""
    try:
        content: dict[str, Any] = json.loads((kept / _ABOUT).read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, this version reads {FORMAT}")
        return Snapshot(kept.name, str(content["created"]), content["size"], content["used"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{kept / _ABOUT} cannot be read: {error}") from error
