"""File systems on a block device or an image file: make, judge, repair, grow, mount."""

import enum

from backends.host.filesystems.base import BlockFileSystem
from backends.host.filesystems.ext4 import Ext4
from backends.host.filesystems.xfs import Xfs

__all__ = ["BlockFileSystem", "FileSystem", "driver_of"]


class FileSystem(enum.Enum):
    """What a volume with a size may be formatted with."""

    EXT4 = "ext4"
    XFS = "xfs"


_DRIVERS: dict[FileSystem, BlockFileSystem] = {FileSystem.EXT4: Ext4(), FileSystem.XFS: Xfs()}


def driver_of(kind: FileSystem) -> BlockFileSystem:
    """What knows how to handle this file system."""
    return _DRIVERS[kind]
