"""Growing an image: the file, its device, its file system.

A file `growing` beside the image says from the first step to the last that the file system may be
smaller than the volume's size; the next attach then finishes. The file system is grown only while
this node has it mounted: elsewhere another node may be writing it.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

from backends.base import Attachment, Growth, Volume
from backends.catalog import Catalog
from backends.errors import NotSupported
from backends.host import files, loop
from backends.options import Size
from backends.sizes import check_growth
from backends.tree.image import ImageLayout, driver_for
from backends.tree.options import Layout, TreeOptions
from backends.tree.room import require_room
from backends.tree.source import opened

_METADATA_SHARE = 64
"""A file system takes at most this part of what it grows by for itself (ext4: 1/60 of a group in
the worst case, mostly unwritten)."""


@dataclass(frozen=True)
class Resize:
    """One growth. Call it; repeated with the same size, it finishes or does nothing."""

    images: ImageLayout
    catalog: Catalog[Any]

    def __call__(
        self, volume: Volume[TreeOptions], size: Size, attachment: Attachment | None
    ) -> Growth:
        self._refuse(volume, size)
        with opened(self.images.source, volume.uuid), self.images.locked(volume.uuid):
            if size != volume.options.size:
                volume = self._record(volume, size)
            if not self.images.growing(volume.uuid).exists():
                return Growth.ONLINE
            device = loop.find(self.images.image(volume.uuid))
            if attachment is None or device is None or attachment.device != device.device:
                return Growth.NEXT_ATTACH
            done = self.images.finish_growth(volume, device, attachment.target)
            return Growth.ONLINE if done else Growth.NEXT_ATTACH

    def _refuse(self, volume: Volume[TreeOptions], size: Size) -> None:
        options = volume.options
        if options.layout is not Layout.IMAGE or options.size is None:
            raise NotSupported(
                f"volume {volume.name} is a plain directory and has no size; only layout=image has"
            )
        check_growth(volume.name, options.size, size)
        needed = driver_for(options).initial + (size - options.size) // _METADATA_SHARE
        if size > options.size:
            require_room(self.images.store.root, size=size, needed=needed)

    def _record(self, volume: Volume[TreeOptions], size: Size) -> Volume[TreeOptions]:
        """The intent, then the room, then the new size in the volume's record."""
        image, growing = self.images.image(volume.uuid), self.images.growing(volume.uuid)
        growing.touch(mode=0o600)
        files.sync_directory(growing.parent)
        if image.stat().st_size < size:
            os.truncate(image, size)
            files.sync_file(image)
        return self.catalog.resize(volume, replace(volume.options, size=size))
