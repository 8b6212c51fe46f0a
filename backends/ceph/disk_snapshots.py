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
from backends.errors import Invalid, KedgeError, NotFound
from backends.host.freezing import Freezer
from backends.options import Size
from backends.snapshots import Snapshot


@dataclass(frozen=True)
class DiskSnapshots:
    """See `layout.LayoutSnapshots`. `name`: of the image of a uuid."""

    images: Images
    freezer: Freezer
    name: Callable[[str], str]

    def create(
        self, volume: Volume[CephOptions], name: str, created: str, attachment: Attachment | None
    ) -> None:
        image = self.name(volume.uuid)
        snapshot_names.refuse_taken(volume, name, self.images.snapshots(image))
        self.settle(volume.uuid)
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
        return snapshot_names.read(self.images.snapshots(self.name(volume.uuid)))

    def remove(self, volume: Volume[CephOptions], name: str) -> None:
        image = self.name(volume.uuid)
        with contextlib.suppress(NotFound):
            found = snapshot_names.found(volume, name, self.images.snapshots(image))
            self.settle(volume.uuid)
            self.images.remove_snapshot(image, found)

    def restore(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        image = self.name(volume.uuid)
        there = self.images.snapshots(image)
        self.images.roll_back(image, snapshot_names.found(volume, name, there))

    def settle(self, uuid: str) -> None:
        """Finish a roll-back that was cut off."""
        image = self.name(uuid)
        if (snapshot := self.images.restoring(image)) is not None:
            self.images.roll_back(image, snapshot)

    def copy(
        self, source: Volume[CephOptions], snapshot: str, volume: Volume[CephOptions], new: str
    ) -> None:
        """Make the image `new` for `volume` from a snapshot of `source`. NotFound, Invalid."""
        image = self.name(source.uuid)
        there = self.images.snapshots(image)
        found = snapshot_names.found(source, snapshot, there)
        size, wanted = there[found] or 0, volume.options.size or 0
        if wanted < size:
            raise Invalid(f"volume {volume.name} needs size={Size(size)}, as what it is made from")
        self.images.copy(image, found, new)
        self.images.grow(new, wanted)  # also when it is no larger: its file system may be smaller
