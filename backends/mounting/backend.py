"""A backend whose attachments are mounts."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic

from backends.base import Attachment, Context, O, Occupant, P, Usage, Volume
from backends.catalog.backend import CatalogedBackend
from backends.claims import Claim
from backends.host.failures import explained
from backends.host.freezing import Freezer
from backends.mounting import detaching
from backends.mounting.mounted import Mounted, Owners
from backends.mounting.snapshots import VolumeSnapshots
from backends.snapshots import Snapshot


class MountingBackend(CatalogedBackend[P, O], Generic[P, O]):
    """Everything about mounts but what the storage is, and how a volume is let go. Also Snapshots.
    The constructor of a subclass calls `_keep_in` and `_mount_as`."""

    _mounted: Mounted
    _snapshots: VolumeSnapshots

    def __init__(self, settings: P, context: Context) -> None:
        super().__init__(settings, context)
        self._freezer = Freezer(context.state / "frozen")
        self._thawed = False

    def _mount_as(self, owners: Owners, snapshots: VolumeSnapshots) -> None:
        """Mounts are the profile's where `owners` says so."""
        self._mounted = Mounted(owners, self.context.mounts)
        self._snapshots = snapshots

    def check(self) -> None:
        """Raise unless the storage is the one that this profile means. Cheap when repeated."""

    def attach(
        self, volume: Volume[O], target: Path, *, claim: Claim | None, read_only: bool = False
    ) -> Attachment:
        current = self._catalog.current(volume)
        with explained(f"attach volume {volume.name}"), self._attaching(current):
            if (shown := self._mounted.usable(current, target)) is not None:
                return shown
            with self._reached(current, claim), self._mounted.place(target):
                self._mount(current, target, claim=claim, read_only=read_only)
                return self._mounted.proof(current, target)

    def _attaching(self, volume: Volume[O]) -> AbstractContextManager[None]:
        """Around `attach`, before it looks at what is mounted."""
        return nullcontext()

    def _reached(self, volume: Volume[O], claim: Claim | None) -> AbstractContextManager[None]:
        """The data can be mounted during the block, and stay reachable for as long as they are;
        what a block that failed needed is let go."""
        return nullcontext()

    @abstractmethod
    def _mount(
        self, volume: Volume[O], target: Path, *, claim: Claim | None, read_only: bool
    ) -> None:
        """Make the data appear at the mount point `target`."""

    def attachments(self) -> Sequence[Attachment]:
        """The first look also thaws what an earlier service left frozen."""
        with explained("read the mount table"):
            found = self._mounted.all()
            if not self._thawed:
                self._freezer.recover({one.uuid: one.target for one in found})
                self._thawed = True
            return found

    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        with explained("read the process table"):
            return detaching.holding(attachments)

    def usage(self, attachment: Attachment) -> Usage:
        """What the volume's own file system says."""
        with explained(f"measure volume {attachment.name}"):
            facts = os.statvfs(attachment.target)
        size = facts.f_blocks * facts.f_frsize
        return Usage(size=size, used=size - facts.f_bfree * facts.f_frsize)

    def snapshot_create(
        self,
        volume: Volume[O],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        self.check()
        with explained(f"take snapshot {name} of volume {volume.name}"):
            return self._snapshots.create(
                volume, name, created=created, attachment=attachment, claim=claim
            )

    def snapshot_list(self, volume: Volume[Any]) -> Sequence[Snapshot]:
        self.check()
        with explained(f"list the snapshots of volume {volume.name}"):
            return self._snapshots.all(volume)

    def snapshot_remove(self, volume: Volume[O], name: str, *, claim: Claim | None) -> None:
        self.check()
        with explained(f"remove snapshot {name} of volume {volume.name}"):
            self._snapshots.remove(volume, name, claim=claim)

    def snapshot_restore(self, volume: Volume[O], name: str, *, claim: Claim | None) -> None:
        self.check()
        with explained(f"bring volume {volume.name} back to snapshot {name}"):
            self._snapshots.restore(volume, name, claim=claim)
