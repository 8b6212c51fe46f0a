"""Which volumes of a store are mounted at their targets, as the kernel shows it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Attachment, Volume
from backends.errors import HostError
from backends.host import mountinfo, mounts, targets
from backends.tree.image import ImageLayout
from backends.tree.options import TreeOptions
from backends.tree.source import Owner, Source
from backends.tree.staging import Staging


@dataclass(frozen=True)
class Mounted:
    """Reads the mount table anew at every call; remembers nothing."""

    source: Source
    staging: Staging
    image: ImageLayout
    below: Path
    """Where every target lies."""

    def all(self) -> list[Attachment]:
        """Everything of this store that is mounted directly below `below`."""
        table = mountinfo.read()
        above = os.path.realpath(self.below)
        points = sorted({m.point for m in table if os.path.dirname(m.point) == above})
        owner = self._owner(table)
        tops = [mountinfo.top(table, point) for point in points]
        found = [self._attachment(top, owner) for top in tops if top is not None]
        return [attachment for attachment in found if attachment is not None]

    def usable(self, volume: Volume[TreeOptions], target: Path) -> Attachment | None:
        """The volume's healthy attachment at `target`. None: nothing of use is mounted there.
        HostError when something else is."""
        table = mountinfo.read()
        top = mountinfo.top(table, spelled(target))
        owner = None if top is None else self._owner(table)(top)
        if top is None:
            return None
        if owner is None or owner[0] != volume.uuid:
            raise HostError(
                f"something else is mounted at {target} ({top.type} {top.source}, {top.root}); "
                "unmount it"
            )
        if owner[1]:
            return self._attachment(top, lambda _: owner)
        if not self.source.fresh:
            self.staging.clear_mount(target)
        return None

    @contextmanager
    def place(self, target: Path) -> Iterator[None]:
        """A mount point for the block: a dead mount that `usable` left is covered, never taken
        away first, because what covers it reaches the containers that have the dead one."""
        if mountinfo.top(mountinfo.read(), spelled(target)) is not None:
            yield
            return
        with targets.prepared(target):
            yield

    def shows(self, uuid: str) -> Callable[[mountinfo.Mount], bool]:
        """Whether a mount shows this volume, dead or alive."""

        def ours(mount: mountinfo.Mount) -> bool:
            owner = self._owner(mountinfo.read())(mount)
            return owner is not None and owner[0] == uuid

        return ours

    def proof(self, volume: Volume[TreeOptions], target: Path) -> Attachment:
        """The volume's attachment at `target`, where it has just been mounted. HostError, with
        the mount taken away again, when a lookup of `target` does not reach it."""
        shown = self._at(target)
        top = mountinfo.top(mountinfo.read(), spelled(target))
        reached = top is not None and mountinfo.reached(target) == top.id
        if shown is not None and shown.uuid == volume.uuid and shown.healthy and reached:
            return shown
        self._take_off(volume, target)
        raise HostError(
            f"{target} does not show volume {volume.name} in good health although it was mounted "
            "there; look at `dmesg`"
        )

    def _at(self, target: Path) -> Attachment | None:
        return next((one for one in self.all() if one.target == target), None)

    def _take_off(self, volume: Volume[TreeOptions], target: Path) -> None:
        """Undo a mount that cannot be proven; a dead one that it covers stays."""
        top = mountinfo.top(mountinfo.read(), spelled(target))
        if top is not None and self.shows(volume.uuid)(top):
            mounts.unmount(target, lazily=True)

    def _owner(self, table: Sequence[mountinfo.Mount]) -> Callable[[mountinfo.Mount], Owner | None]:
        plain = self.source.judge(table)
        return lambda mount: plain(mount) or self.image.owner(mount)

    def _attachment(
        self, mount: mountinfo.Mount, judge: Callable[[mountinfo.Mount], Owner | None]
    ) -> Attachment | None:
        owner = judge(mount)
        if owner is None:
            return None
        uuid, healthy = owner
        name = os.path.basename(mount.point)
        target = self.below / name
        return Attachment(name, uuid, target, mount.device, mount.root, healthy)


def spelled(target: Path) -> str:
    """A target as the kernel spells it, without a look at what is mounted there: it may be a
    server that does not answer."""
    return os.path.join(os.path.realpath(target.parent), target.name)
