"""Putting a volume's data out of reach: one rename, then the reaper."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from backends.host import files
from backends.host.staging import Staging
from backends.tree.reaper import PREFIX, Reaper
from backends.tree.source import Source
from backends.tree.store import Store

_ROOMS = ("volumes", "snapshots")
_REAP_SECONDS = 1.0
"""How long a removal waits for the space to come back; after that it does so in the background."""


@dataclass(frozen=True)
class Removal:
    """Deletes data of a store."""

    store: Store
    source: Source
    staging: Staging
    reaper: Reaper

    def delete(self, uuid: str) -> None:
        """Move the data aside and delete them. Gone: does nothing. InUse while something is
        mounted from them or on them."""
        data = self.store.data(uuid)
        self.staging.clear(uuid)
        if data.exists():
            self.source.refuse_use(uuid)
        self.put_away(self.store.snapshots / uuid, f"{uuid}.snapshots")
        self.put_away(data, uuid)
        self.reap()

    def put_away(self, path: Path, name: str) -> None:
        """Move a directory to where it is deleted, by and by. Gone: does nothing."""
        if path.exists():
            with contextlib.suppress(FileNotFoundError):  # another node was faster
                path.rename(self._free(path, name))
            files.sync_directory(path.parent)

    def reap(self) -> None:
        """Have what was put away deleted, and wait a moment for it."""
        if self.reaper.left():
            self.reaper.start()
            self.reaper.wait(_REAP_SECONDS)

    def _free(self, path: Path, name: str) -> Path:
        """A place beside the volumes, spelled as `path` is: through the same mount."""
        volumes = next(above for above in path.parents if above.name in _ROOMS).with_name("volumes")
        free, number = volumes / f"{PREFIX}{name}", 0
        while free.exists():
            number += 1
            free = volumes / f"{PREFIX}{name}.{number}"
        return free
