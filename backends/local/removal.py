"""Putting a volume's data out of reach: one rename, then the reaper."""

from dataclasses import dataclass
from pathlib import Path

from backends.errors import InUse
from backends.host import files, loop, mountinfo, trees
from backends.local.reaper import PREFIX, Reaper
from backends.local.staging import Staging
from backends.local.store import Store

_REAP_SECONDS = 1.0
"""How long a removal waits for the space to come back; after that it does so in the background."""


@dataclass(frozen=True)
class Removal:
    """Deletes data of a store."""

    store: Store
    staging: Staging
    reaper: Reaper

    def delete(self, uuid: str) -> None:
        """Move the data aside and delete them. Gone: does nothing. InUse while something is
        mounted from them or on them."""
        data = self.store.data(uuid)
        self.staging.clear(uuid)
        if data.exists():
            self._refuse_use(uuid, data)
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

    def _refuse_use(self, uuid: str, data: Path) -> None:
        trees.refuse_mounts_below(data)
        table = mountinfo.read()
        home = self.store.home(table)
        root = f"{home.path}/{uuid}"
        for mount in table:
            if mount.device == home.device and (mount.root + "/").startswith(root + "/"):
                raise InUse(f"the data in {data} are mounted at {mount.point}; unmount them first")
        image = data / "image"
        if image.exists() and (device := loop.find(loop.identity(image))) is not None:
            raise InUse(f"{image} is in use as /dev/loop{device.number}; unmount it first")
