"""Which volumes of a store are mounted at their targets, as the kernel shows it."""

import os
from dataclasses import dataclass
from pathlib import Path

from backends.base import Attachment, Volume
from backends.errors import HostError
from backends.host import mountinfo
from backends.local.directory import DirectoryLayout
from backends.local.image import ImageLayout
from backends.local.options import LocalOptions
from backends.local.store import Home, Store


@dataclass(frozen=True)
class Mounted:
    """Reads the mount table anew at every call; remembers nothing."""

    store: Store
    directory: DirectoryLayout
    image: ImageLayout
    mounts: Path

    def all(self) -> list[Attachment]:
        """Everything of this store that is mounted directly below `mounts`."""
        table = mountinfo.read()
        above = os.path.realpath(self.mounts)
        points = sorted({m.point for m in table if os.path.dirname(m.point) == above})
        home, identity = self.store.home(table), self.store.known()
        tops = [mountinfo.top(table, point) for point in points]
        found = [self._attachment(top, home, identity) for top in tops if top is not None]
        return [attachment for attachment in found if attachment is not None]

    def usable(self, volume: Volume[LocalOptions], target: Path) -> Attachment | None:
        """The volume's healthy attachment at `target`. None: nothing is mounted there, any more.
        HostError when something else is."""
        shown = self._at(target)
        if shown is not None and shown.uuid == volume.uuid:
            if shown.healthy:
                return shown
            self.directory.staging.clear_mount(target)
        top = mountinfo.top(mountinfo.read(), os.path.realpath(target))
        if top is not None:
            raise HostError(
                f"something else is mounted at {target} ({top.type} {top.source}, {top.root}); "
                "unmount it"
            )
        return None

    def proof(self, volume: Volume[LocalOptions], target: Path) -> Attachment:
        """The volume's attachment at `target`, where it has just been mounted. HostError, with
        the mount taken away again, when a lookup of `target` does not reach it."""
        shown = self._at(target)
        top = mountinfo.top(mountinfo.read(), os.path.realpath(target))
        reached = top is not None and mountinfo.reached(target) == top.id
        if shown is not None and shown.uuid == volume.uuid and shown.healthy and reached:
            return shown
        self.directory.staging.clear_mount(target)
        raise HostError(
            f"{target} does not show volume {volume.name} in good health although it was mounted "
            "there; look at `dmesg`"
        )

    def _at(self, target: Path) -> Attachment | None:
        return next((one for one in self.all() if one.target == target), None)

    def _attachment(self, mount: mountinfo.Mount, home: Home, identity: str) -> Attachment | None:
        owner = self.directory.owner(mount, home) or self.image.owner(mount, identity)
        if owner is None:
            return None
        uuid, healthy = owner
        name = os.path.basename(mount.point)
        target = self.mounts / name
        return Attachment(name, uuid, target, mount.device, mount.root, healthy)
