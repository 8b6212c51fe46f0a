"""Which volumes of a profile are mounted at their targets, as the kernel shows it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backends.base import Attachment, Volume
from backends.errors import HostError
from backends.host import mountinfo, mounts, targets

Owner = tuple[str, bool]
"""The uuid of the volume that a mount shows, and whether it is in good health."""
Judge = Callable[[mountinfo.Mount], Owner | None]
"""Tells whose a mount is; None: none of this profile's."""


class Owners(Protocol):
    """What a backend knows about mounts."""

    def judge(self, table: Sequence[mountinfo.Mount]) -> Judge:
        """What tells whose a mount of `table` is. Never waits for long, never asks the storage."""

    def fresh(self, mount: mountinfo.Mount) -> bool:
        """Whether a fresh mount can cover this dead one, and so reach the containers that have
        it; else the dead one has to go first."""


@dataclass(frozen=True)
class Mounted:
    """Reads the mount table anew at every call; remembers nothing."""

    owners: Owners
    below: Path
    """Where every target lies."""

    def all(self) -> list[Attachment]:
        """Everything of this profile that is mounted directly below `below`."""
        table = mountinfo.read()
        above = os.path.realpath(self.below)
        points = sorted({m.point for m in table if os.path.dirname(m.point) == above})
        judge = self.owners.judge(table)
        tops = [mountinfo.top(table, point) for point in points]
        found = [self._attachment(top, judge(top)) for top in tops if top is not None]
        return [attachment for attachment in found if attachment is not None]

    def at(self, target: Path) -> Attachment | None:
        """What is mounted at `target`, if it is of this profile."""
        return next((one for one in self.all() if one.target == target), None)

    def as_shown(self, attachment: Attachment) -> Attachment:
        """The attachment with what the kernel shows of it now; as it was given when nothing of
        the volume is mounted there."""
        shown = self.at(attachment.target)
        return shown if shown is not None and shown.uuid == attachment.uuid else attachment

    def usable(self, volume: Volume[Any], target: Path) -> Attachment | None:
        """The volume's healthy attachment at `target`. None: nothing of use is mounted there.
        HostError when something else is."""
        table = mountinfo.read()
        top = mountinfo.top(table, spelled(target))
        if top is None:
            return None
        owner = self.owners.judge(table)(top)
        if owner is None or owner[0] != volume.uuid:
            raise HostError(
                f"something else is mounted at {target} ({top.type} {top.source}, {top.root}); "
                "unmount it"
            )
        if owner[1]:
            return self._attachment(top, owner)
        if not self.owners.fresh(top):
            self._take_off(volume, target)
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
            owner = self.owners.judge(mountinfo.read())(mount)
            return owner is not None and owner[0] == uuid

        return ours

    def proof(self, volume: Volume[Any], target: Path) -> Attachment:
        """The volume's attachment at `target`, where it has just been mounted. HostError, with
        the mount taken away again, when a lookup of `target` does not reach it."""
        shown = self.at(target)
        top = mountinfo.top(mountinfo.read(), spelled(target))
        reached = top is not None and mountinfo.reached(target) == top.id
        if shown is not None and shown.uuid == volume.uuid and shown.healthy and reached:
            return shown
        self._take_off(volume, target)
        raise HostError(
            f"{target} does not show volume {volume.name} in good health although it was mounted "
            "there; look at `dmesg`"
        )

    def _take_off(self, volume: Volume[Any], target: Path) -> None:
        """Take the volume's topmost mount away, whoever looks into it; what it covers stays."""
        top = mountinfo.top(mountinfo.read(), spelled(target))
        if top is not None and self.shows(volume.uuid)(top):
            mounts.unmount(target, lazily=True)

    def _attachment(self, mount: mountinfo.Mount, owner: Owner | None) -> Attachment | None:
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
