"""Layout `directory`: `<root>/volumes/<uuid>/data`, bind-mounted."""

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.ambient import new_id
from backends.base import Attachment, Volume
from backends.errors import Damaged, InUse
from backends.host import files, mounts
from backends.host.copying import copy_tree
from backends.host.staging import Staging
from backends.tree.options import TreeOptions
from backends.tree.origin import Origin
from backends.tree.removal import Removal
from backends.tree.source import Source, opened
from backends.tree.store import Store

_RESTORED = ".restored"
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
    origin: Origin
    removal: Removal
    limit: Limit = no_limit

    def make(self, volume: Volume[TreeOptions]) -> None:
        """Make the data. There: left alone."""
        options = volume.options
        files.make_directory(self.store.data(volume.uuid), 0o700)
        if options.size is not None:
            self.limit(volume.uuid, options.size)
        if options.from_ is not None:
            with opened(self.source, volume.uuid):
                self._clone(volume)
            return
        self._settle(self.store.data(volume.uuid))
        data = self.store.data(volume.uuid) / "data"
        files.make_owned_directory(data, uid=options.uid, gid=options.gid, mode=options.mode)

    def mount(self, volume: Volume[TreeOptions], target: Path, *, read_only: bool) -> None:
        """Make the data appear at the mount point `target`. Damaged when they are not there."""
        data = self._settle(self.source.directory(volume.uuid)) / "data"
        if not data.is_dir():
            raise Damaged(f"the data of volume {volume.name} are missing: no directory {data}")
        if not read_only:
            mounts.bind(data, target)
            return
        with self.staging.place(volume.uuid) as stage:
            mounts.bind(data, stage)
            self.staging.make_read_only(stage)
            mounts.bind(stage, target)

    def copy_out(
        self, volume: Volume[TreeOptions], into: Path, attachment: Attachment | None
    ) -> None:
        """See `snapshots.Copied`."""
        if attachment is not None:
            raise InUse(
                f"volume {volume.name} is a plain directory, of which a consistent snapshot can "
                "only be taken while nobody has it mounted: stop its containers, or use "
                "layout=image"
            )
        copy_tree(self._settle(self.source.directory(volume.uuid)) / "data", into / "data")

    def copy_back(self, volume: Volume[TreeOptions], kept: Path) -> None:
        """See `snapshots.Copied`. The copy waits beside the data until it is complete; once they
        are gone, it is the data (`_settle`)."""
        home = self._settle(self.source.directory(volume.uuid))
        for left in home.glob(".copying-*"):
            self.removal.put_away(left, f"{home.name}.unfinished")
        self._copy(kept, home, _RESTORED)
        self.removal.put_away(home / "data", f"{volume.uuid}.replaced")
        self._settle(home)

    def size(self, kept: Path) -> int | None:
        """See `snapshots.Copied`."""
        return None

    def _clone(self, volume: Volume[TreeOptions]) -> None:
        home = self._settle(self.source.directory(volume.uuid))
        kept = None if (home / "data").is_dir() else self.origin.of(volume)
        if kept is not None:
            self._copy(kept, home, "data")

    def _copy(self, kept: Path, home: Path, name: str) -> None:
        """A copy of what is kept, complete under its name or not there at all. An earlier attempt
        of somebody else may be faster."""
        new = home / f".copying-{new_id()}"
        try:
            copy_tree(kept / "data", new)
            with contextlib.suppress(FileExistsError):
                new.rename(home / name)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        finally:
            self.removal.put_away(new, f"{home.name}.unfinished")
        files.sync_directory(home)

    def _settle(self, home: Path) -> Path:
        """After a restoration that was cut off: its copy becomes the data if they are gone, and is
        put away otherwise."""
        restored = home / _RESTORED
        if restored.is_dir():
            if (home / "data").is_dir():
                self.removal.put_away(restored, f"{home.name}.unfinished")
            else:
                restored.rename(home / "data")
            files.sync_directory(home)
        return home
