"""Putting a volume's data out of reach: one rename, then the reaper."""

import contextlib
from dataclasses import dataclass

from backends.host import files
from backends.tree.reaper import PREFIX, Reaper
from backends.tree.source import Source
from backends.tree.staging import Staging
from backends.tree.store import Store

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
            with contextlib.suppress(FileNotFoundError):  # another node was faster
                data.rename(data.with_name(self._free_name(uuid)))
            files.sync_directory(data.parent)
        if self.reaper.left():
            self.reaper.start()
            self.reaper.wait(_REAP_SECONDS)

    def _free_name(self, uuid: str) -> str:
        name, number = PREFIX + uuid, 0
        while (self.store.volumes / name).exists():
            number += 1
            name = f"{PREFIX}{uuid}.{number}"
        return name
