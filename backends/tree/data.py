"""The data of volumes, whatever their layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.base import Volume
from backends.tree.options import Layout, TreeOptions
from backends.tree.removal import Removal


class LayoutData(Protocol):
    """What both layouts do for one volume."""

    def make(self, volume: Volume[TreeOptions]) -> None:
        """Make the data, durable on return. There already: left untouched."""

    def mount(self, volume: Volume[TreeOptions], target: Path, *, read_only: bool) -> None:
        """Make the data appear at the mount point `target`."""


@dataclass(frozen=True)
class TreeData:
    """See `backends.catalog.Data`."""

    layouts: dict[Layout, LayoutData]
    removal: Removal

    def layout(self, volume: Volume[TreeOptions]) -> LayoutData:
        """What handles this volume."""
        return self.layouts[volume.options.settled().layout or Layout.DIRECTORY]

    def make(self, volume: Volume[TreeOptions]) -> None:
        self.layout(volume).make(volume)

    def delete(self, volume: Volume[TreeOptions]) -> None:
        self.removal.delete(volume.uuid)

    def where(self, volume: Volume[TreeOptions]) -> str:
        return str(self.removal.store.data(volume.uuid))
