"""The data of volumes, whatever their layout."""

from collections.abc import Mapping
from dataclasses import dataclass

from backends.base import Attachment, Volume
from backends.ceph.layout import Layout as LayoutData
from backends.ceph.options import CephOptions, Layout
from backends.errors import Damaged
from backends.host import loop


@dataclass(frozen=True)
class CephData:
    """See `backends.catalog.Data`."""

    layouts: Mapping[Layout, LayoutData]

    def layout(self, volume: Volume[CephOptions]) -> LayoutData:
        """What handles this volume; its options were settled when it was made."""
        if volume.options.layout is None:
            raise Damaged(f"the record of volume {volume.name} does not say its layout")
        return self.layouts[volume.options.layout]

    def layouts_of(self, attachment: Attachment) -> list[LayoutData]:
        """What may have to do with an attachment, judged by its device if that is known."""
        if not attachment.device:
            return list(self.layouts.values())
        disk = loop.number_of(attachment.device) is not None
        return [self.layouts[Layout.DISK if disk else Layout.FILESYSTEM]]

    def make(self, volume: Volume[CephOptions]) -> None:
        self.layout(volume).make(volume)

    def delete(self, volume: Volume[CephOptions]) -> None:
        self.layout(volume).delete(volume)

    def where(self, volume: Volume[CephOptions]) -> str:
        return self.layout(volume).where(volume)
