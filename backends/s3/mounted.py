"""Which mounts and loop devices of this node are disks of an s3 profile."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from backends.base import Attachment
from backends.disk.fuse.layer import ROOT
from backends.disk.fuse.path import DataPath
from backends.errors import KedgeError, Unavailable
from backends.host import loop
from backends.host.bounded import Bounded
from backends.host.mountinfo import Mount
from backends.mounting import detaching
from backends.mounting.mounted import Judge, Owner
from backends.s3.disks import CLOSE_SECONDS, Disks, label

_STOPPED = {"ro", "shutdown", "emergency_ro"}


@dataclass(frozen=True)
class DiskOwners:
    """See `backends.mounting.mounted.Owners`."""

    disks: Disks
    node: str

    def judge(self, table: Sequence[Mount]) -> Judge:
        return self._owner

    def fresh(self, mount: Mount) -> bool:
        return False

    def held(self, uuid: str) -> bool:
        """Whether a loop device of the volume is still in use by somebody. Only those whose file
        may be the volume's disk are asked: another's storage may hang."""
        for number in loop.numbers():
            if f"{uuid}.fuse/" in loop.backing_file(number):
                found = loop.status(number)
                if found is not None and found.label == label(uuid, self.node):
                    return True
        return False

    def unmount(self, attachment: Attachment) -> None:
        """Unmount what is this volume's, and nothing that stands at its place by now. It goes on,
        if that takes longer, because the disk takes no writes: Unavailable."""
        late = Unavailable(
            f"volume {attachment.name} is not unmounted within {CLOSE_SECONDS:.0f} s, because its "
            "disk takes no writes: its log is full and the bucket is away; it is still being tried"
        )
        Bounded(
            lambda: detaching.unmount(attachment, lambda m: self._uuid(m) == attachment.uuid)
        ).result(CLOSE_SECONDS, late)

    def _owner(self, mount: Mount) -> Owner | None:
        uuid = self._uuid(mount)
        if uuid is None:
            return None
        path = self.disks.path(uuid, os.path.basename(mount.point))
        healthy = path.alive() and not _STOPPED & mount.super_options
        if healthy:
            _mend(path)
        return uuid, healthy

    def _uuid(self, mount: Mount) -> str | None:
        """Of the volume that a mount shows; None when it is none of this node's."""
        number = loop.number_of(mount.device)
        found = loop.status(number) if number is not None and mount.root == ROOT else None
        if found is None:
            return None
        uuid = found.label.removeprefix("kedge:").partition(":")[0]
        return uuid if found.label == label(uuid, self.node) else None


def _mend(path: DataPath) -> None:
    """Give a server whose holder was killed a new one; who looks at attachments does it, and the
    keeper looks all the time. Not possible just now: tried with the next look."""
    with suppress(KedgeError):
        if path.held() is None:
            path.adopt()
