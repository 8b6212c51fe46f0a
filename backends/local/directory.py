"""Layout `directory`: `<root>/volumes/<uuid>/data`, bind-mounted."""

import re
from dataclasses import dataclass
from pathlib import Path

from backends.base import Volume
from backends.errors import Damaged
from backends.host import files, mountinfo, mounts
from backends.local.options import LocalOptions
from backends.local.staging import Staging
from backends.local.store import Home, Store

_ROOT = re.compile(r"(.*)/([a-zA-Z0-9-]+)/data")


@dataclass(frozen=True)
class DirectoryLayout:
    """Makes and mounts volumes that are plain directories."""

    store: Store
    staging: Staging

    def make(self, volume: Volume[LocalOptions]) -> None:
        """Make the data. There: left alone."""
        options = volume.options
        files.make_directory(self.store.data(volume.uuid), 0o700)
        data = self._data(volume.uuid)
        files.make_owned_directory(data, uid=options.uid, gid=options.gid, mode=options.mode)

    def mount(self, volume: Volume[LocalOptions], target: Path, *, read_only: bool) -> None:
        """Make the data appear at the mount point `target`. Damaged when they are not there."""
        data = self._data(volume.uuid)
        if not data.is_dir():
            raise Damaged(f"the data of volume {volume.name} are missing: no directory {data}")
        if not read_only:
            mounts.bind(data, target)
            return
        with self.staging.place(volume.uuid) as stage:
            mounts.bind(data, stage)
            self.staging.make_read_only(stage)
            mounts.bind(stage, target)

    def owner(self, mount: mountinfo.Mount, home: Home) -> tuple[str, bool] | None:
        """(uuid, healthy) when `mount` shows a volume of this store."""
        shown = _ROOT.fullmatch(mount.root)
        if shown is None:
            return None
        uuid = shown[2]
        if mount.device == home.device and shown[1] == home.path:
            return uuid, True
        if mount.device != home.device and self._data(uuid).is_dir():
            return uuid, False  # the root was mounted anew since
        return None

    def _data(self, uuid: str) -> Path:
        return self.store.data(uuid) / "data"
