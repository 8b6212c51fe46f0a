"""Snapshots of disks in a bucket: pins in their heads (`disk/core/pins.py`). Nothing is copied.

Of a mounted volume: everything is shipped, then the file system is held still while what came since
is shipped, too, and the pin is made. Of one that nobody has mounted: the checkpoint in its head has
everything; a disk that was not closed, because its node was lost, is opened and closed first.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from backends.ambient import new_id
from backends.base import Attachment, Volume
from backends.claims import Claim
from backends.disk.core import pins
from backends.disk.core.head import Pin
from backends.disk.remote import pause, random_id
from backends.disk.snapshots.cutting import Cutter
from backends.disk.snapshots.restoring import restore_disk
from backends.disk.unlocking import coder_of
from backends.errors import Exists, InUse, KedgeError, NotFound
from backends.host.freezing import Freezer
from backends.inspection import Cut
from backends.s3.disks import Disks
from backends.s3.options import S3Options
from backends.snapshots import Snapshot

_SHIP_SECONDS = 600.0
_PIN_SECONDS = 9.0
"""Writers wait meanwhile."""


@dataclass(frozen=True)
class DiskSnapshots:
    """See backends.snapshots.Snapshots."""

    disks: Disks
    freezer: Freezer

    def create(
        self,
        volume: Volume[S3Options],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        """As `snapshot_create` says."""
        call = new_id()
        try:
            if attachment is not None:
                size = self._of_mounted(volume, attachment, name, created, call)
            else:
                size = self._at_rest(volume, claim, name, created, call)
        except Exists as error:
            raise Exists(
                f"volume {volume.name} has a snapshot {name!r}; choose another name"
            ) from error
        except BaseException:
            with suppress(KedgeError):
                self.disks.heads.update(volume.uuid, pins.withdrawn(name, call))
            raise
        return Snapshot(name, created, size)

    def all(self, volume: Volume[S3Options]) -> Sequence[Snapshot]:
        """As `snapshot_list` says."""
        found = pins.snapshots(self.disks.heads.read(volume.uuid))
        shown = [_shown(name, pin) for name, pin in found.items()]
        return sorted(shown, key=lambda one: (one.created, one.name))

    def remove(self, volume: Volume[S3Options], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_remove` says. Whoever has the disk open collects what it held."""
        with suppress(NotFound):
            self.disks.heads.update(volume.uuid, pins.without(name))

    def restore(self, volume: Volume[S3Options], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_restore` says."""
        disks = self.disks
        with disks.locked(volume.uuid):
            head = disks.heads.read(volume.uuid)
            pins.found(head, name)
            disks.close(volume.uuid, volume.name)
            restore_disk(
                *(disks.store, disks.heads, volume.uuid, name),
                claim=disks.epoch(volume, head, claim.epoch if claim else None),
                node=disks.context.node,
                new_id=random_id,
                wait=pause,
                coder=coder_of(head, disks.keys),
            )

    def cut(
        self, volume: Volume[S3Options], before: int, *, created: str, claim: Claim | None
    ) -> Cut:
        """See Salvageable."""
        disks = self.disks
        with disks.locked(volume.uuid):
            head = disks.heads.read(volume.uuid)
            disks.close(volume.uuid, volume.name)
            cutter = Cutter(
                *(disks.store, disks.heads, volume.uuid, disks.context.node, created),
                new_id=random_id,
                wait=pause,
                coder=coder_of(head, disks.keys),
            )
            return cutter.cut(
                before, claim=disks.epoch(volume, head, claim.epoch if claim else None)
            )

    def _of_mounted(
        self, volume: Volume[S3Options], attachment: Attachment, name: str, created: str, call: str
    ) -> int:
        path = self.disks.path(volume.uuid, volume.name)
        path.call("settle", seconds=_SHIP_SECONDS)
        with self.freezer.frozen(volume.uuid, attachment.target):
            arguments = {"name": name, "created": created, "call": call}
            size = path.call("snapshot", arguments, seconds=_PIN_SECONDS).get("size")
        if size is None:  # a server of an earlier version, which is not told yet to go
            size = pins.found(self.disks.heads.read(volume.uuid), name).size
        return int(size)

    def _at_rest(
        self, volume: Volume[S3Options], claim: Claim | None, name: str, created: str, call: str
    ) -> int:
        disks, step = self.disks, pins.snapshot_at_rest(name, created, call)
        with disks.locked(volume.uuid):
            disks.close(volume.uuid, volume.name)
            with suppress(InUse):
                return pins.found(disks.heads.update(volume.uuid, step), name).size
            disks.open(volume, claim.epoch if claim else None)
            disks.close(volume.uuid, volume.name)
            return pins.found(disks.heads.update(volume.uuid, step), name).size


def _shown(name: str, pin: Pin) -> Snapshot:
    return Snapshot(name, pin.created, pin.size)
