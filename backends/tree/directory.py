"""Layout `directory`: `<root>/volumes/<uuid>/data`, bind-mounted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.base import Volume
from backends.errors import Damaged
from backends.host import files, mounts
from backends.tree.options import TreeOptions
from backends.tree.source import Source
from backends.tree.staging import Staging
from backends.tree.store import Store

Limit = Callable[[str, int], None]
"""Keep the directory of the volume with this uuid to this many bytes, from now on."""


def no_limit(uuid: str, size: int) -> None:
    """For storage that cannot limit a directory; its options refuse a size before."""


@dataclass(frozen=True)
class DirectoryLayout:
    """Makes and mounts volumes that are plain directories."""

    store: Store
    source: Source
    staging: Staging
    limit: Limit = no_limit

    def make(self, volume: Volume[TreeOptions]) -> None:
        """Make the data. There: left alone."""
        options = volume.options
        files.make_directory(self.store.data(volume.uuid), 0o700)
        if options.size is not None:
            self.limit(volume.uuid, options.size)
        data = self.store.data(volume.uuid) / "data"
        files.make_owned_directory(data, uid=options.uid, gid=options.gid, mode=options.mode)

    def mount(self, volume: Volume[TreeOptions], target: Path, *, read_only: bool) -> None:
        """Make the data appear at the mount point `target`. Damaged when they are not there."""
        data = self.source.directory(volume.uuid) / "data"
        if not data.is_dir():
            raise Damaged(f"the data of volume {volume.name} are missing: no directory {data}")
        if not read_only:
            mounts.bind(data, target)
            return
        with self.staging.place(volume.uuid) as stage:
            mounts.bind(data, stage)
            self.staging.make_read_only(stage)
            mounts.bind(stage, target)
