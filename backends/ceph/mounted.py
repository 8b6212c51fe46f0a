"""Which volumes of a profile are mounted at their targets, as the kernel shows it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Attachment, Volume
from backends.ceph.layout import Layout
from backends.ceph.options import CephOptions
from backends.errors import HostError
from backends.host import mountinfo, mounts, targets


@dataclass(frozen=True)
class Mounted:
    """Reads the mount table anew at every call; remembers nothing, asks no cluster."""

    layouts: Sequence[Layout]
    mounts: Path

    def all(self) -> list[Attachment]:
        """Everything of this profile that is mounted directly below `mounts`."""
        table = mountinfo.read()
        above = os.path.realpath(self.mounts)
        points = sorted({m.point for m in table if os.path.dirname(m.point) == above})
        tops = [mountinfo.top(table, point) for point in points]
        found = [self._attachment(top) for top in tops if top is not None]
        return [attachment for attachment in found if attachment is not None]

    def at(self, target: Path) -> Attachment | None:
        """What is mounted at `target`, if it is of this profile."""
        return next((one for one in self.all() if one.target == target), None)

    def usable(self, volume: Volume[CephOptions], target: Path) -> Attachment | None:
        """The volume's healthy attachment at `target`. None: nothing of use is mounted there.
        HostError when something else is."""
        top = mountinfo.top(mountinfo.read(), os.path.realpath(target))
        if top is None:
            return None
        shown = self._attachment(top)
        if shown is None or shown.uuid != volume.uuid:
            raise HostError(
                f"something else is mounted at {target} ({top.type} {top.source}, {top.root}); "
                "unmount it"
            )
        if shown.healthy:
            return shown
        if not self._layout(top).fresh:
            mounts.unmount(target, lazily=True)
        return None

    @contextmanager
    def place(self, target: Path) -> Iterator[None]:
        """A mount point for the block: a dead mount that `usable` left is covered, never taken
        away first, because what covers it reaches the containers that have the dead one."""
        if mountinfo.top(mountinfo.read(), os.path.realpath(target)) is not None:
            yield
            return
        with targets.prepared(target):
            yield

    def shows(self, uuid: str) -> Callable[[mountinfo.Mount], bool]:
        """Whether a mount shows this volume, dead or alive."""

        def ours(mount: mountinfo.Mount) -> bool:
            shown = self._attachment(mount)
            return shown is not None and shown.uuid == uuid

        return ours

    def proof(self, volume: Volume[CephOptions], target: Path) -> Attachment:
        """The volume's attachment at `target`, where it has just been mounted. HostError, with
        the mount taken away again, when a lookup of `target` does not reach it."""
        shown = self.at(target)
        top = mountinfo.top(mountinfo.read(), os.path.realpath(target))
        reached = top is not None and mountinfo.reached(target) == top.id
        if shown is not None and shown.uuid == volume.uuid and shown.healthy and reached:
            return shown
        if top is not None and self.shows(volume.uuid)(top):
            mounts.unmount(target, lazily=True)
        raise HostError(
            f"{target} does not show volume {volume.name} in good health although it was mounted "
            "there; look at `dmesg`"
        )

    def _attachment(self, mount: mountinfo.Mount) -> Attachment | None:
        name = os.path.basename(mount.point)
        for layout in self.layouts:
            if (owner := layout.owner(mount)) is not None:
                uuid, healthy = owner
                target = self.mounts / name
                return Attachment(name, uuid, target, mount.device, mount.root, healthy)
        return None

    def _layout(self, mount: mountinfo.Mount) -> Layout:
        return next(one for one in self.layouts if one.owner(mount) is not None)
