"""What a person may say about a volume below a root, whatever the root lies on."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from backends.base import Access
from backends.host.filesystems import FileSystem, driver_of
from backends.options import Size, option
from backends.sizes import broken
from backends.snapshots import SnapshotOptions


class Layout(enum.Enum):
    """How a volume's files are kept below the root."""

    DIRECTORY = "directory"
    IMAGE = "image"


@dataclass(frozen=True)
class TreeOptions(SnapshotOptions):
    """Options of a volume. Use `settled()` to read layout and fs."""

    layout: Layout | None = option(
        None,
        help="directory: a plain directory; image: a file system of its own in a file, so that "
        "size is enforced (default: image when size is given, else directory)",
    )
    size: Size | None = option(None, help="how much the volume may hold; can grow later")
    fs: FileSystem | None = option(None, help="file system of an image (default: ext4)")

    def settled(self) -> Self:
        """The same options with what was left out filled in."""
        layout = self.layout or (Layout.DIRECTORY if self.size is None else Layout.IMAGE)
        fs = self.fs
        if layout is Layout.IMAGE:
            fs = fs or FileSystem.EXT4
        return replace(self, layout=layout, fs=fs)

    def problems(self) -> Iterable[str]:
        """Rules over several options."""
        if self.settled().layout is Layout.DIRECTORY:
            if self.snapshots is not None:
                yield (
                    f"snapshots={self.snapshots} needs layout=image: a plain directory cannot be "
                    "copied while it is mounted"
                )
            yield from self.directory_problems()
            if self.fs is not None:
                yield f"fs={self.fs.value} needs layout=image and a size"
            return
        if self.access is Access.SHARED:
            yield "access=shared is not possible with layout=image; use layout=directory"
        if self.size is None:
            yield "layout=image needs a size, for example size=10G"
        else:
            yield from self._too_small(self.size)

    def directory_problems(self) -> Iterable[str]:
        """Rules for `size` with layout=directory, which depend on the storage."""
        if self.size is not None:
            yield (
                f"size={self.size} cannot be enforced in a plain directory; use layout=image, "
                "or leave size out"
            )

    def _too_small(self, size: Size) -> Iterable[str]:
        driver = driver_of(self.fs or FileSystem.EXT4)
        yield from broken(size, Size(driver.minimum), driver.name)
