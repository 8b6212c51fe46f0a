"""Snapshots of images: RBD's own, of a file system that is held still meanwhile.

A roll-back takes time and changes the image in place. So the image itself says that one is under
way, and whoever wants to use it finishes that first: to everybody it holds the old content or the
new one. A clone is a copy, sparse as its source, which it needs no longer.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from backends.base import Attachment, Volume
from backends.ceph import snapshot_names
from backends.ceph.images import Images
from backends.ceph.options import CephOptions
from backends.ceph.working import image_of
from backends.errors import Invalid, KedgeError, NotFound
from backends.host.freezing import Freezer
from backends.options import Size
from backends.snapshots import Snapshot


@dataclass(frozen=True)
class DiskSnapshots:
    """See `layout.LayoutSnapshots`. `ready`: makes a volume's image free of what a dead process of
    this node was doing to it."""

    images: Images
    freezer: Freezer
    ready: Callable[[str], None]

    def create(
        self,
        volume: Volume[CephOptions],
        name: str,
        created: str,
        attachment: Attachment | None,
        epoch: int,
    ) -> None:
        image = image_of(volume.uuid)
        snapshot_names.refuse_taken(volume, name, self.images.snapshots(image))
        self.settle(volume.uuid, epoch)
        still: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if attachment is not None:
            still = self.freezer.frozen(volume.uuid, attachment.target)
        wanted = snapshot_names.written(name, created)
        try:
            with still:
                self.images.take_snapshot(image, wanted)
        except KedgeError:
            with contextlib.suppress(KedgeError):  # it may have been taken of what was moving
                self.images.remove_snapshot(image, wanted)
            raise

    def all(self, volume: Volume[CephOptions]) -> dict[str, Snapshot]:
        return snapshot_names.read(self.images.snapshots(image_of(volume.uuid)))

    def remove(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        image = image_of(volume.uuid)
        with contextlib.suppress(NotFound):
            found = snapshot_names.found(volume, name, self.images.snapshots(image))
            self.settle(volume.uuid, epoch)
            self.images.remove_snapshot(image, found)

    def restore(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        image = image_of(volume.uuid)
        found = snapshot_names.found(volume, name, self.images.snapshots(image))
        self.ready(volume.uuid)
        self.images.roll_back(image, found, epoch)

    def settle(self, uuid: str, epoch: int) -> None:
        """Finish a roll-back that was cut off."""
        self.ready(uuid)
        image = image_of(uuid)
        if (snapshot := self.images.restoring(image)) is not None:
            self.images.roll_back(image, snapshot, epoch)

    def copy(
        self, source: Volume[CephOptions], snapshot: str, volume: Volume[CephOptions], new: str
    ) -> None:
        """Make the image `new` for `volume` from a snapshot of `source`. NotFound, Invalid."""
        image = image_of(source.uuid)
        there = self.images.snapshots(image)
        found = snapshot_names.found(source, snapshot, there)
        size, wanted = there[found] or 0, volume.options.size or 0
        if wanted < size:
            raise Invalid(f"volume {volume.name} needs size={Size(size)}, as what it is made from")
        self.images.copy(image, found, new)
        self.images.grow(new, wanted)  # also when it is no larger: its file system may be smaller
