"""XFS. Field offsets: `struct xfs_dsb` in the kernel's fs/xfs/libxfs/xfs_format.h."""

import fcntl
import os
import struct
from pathlib import Path
from typing import ClassVar

from backends.errors import Damaged
from backends.host.filesystems.base import BlockFileSystem, superblock
from backends.host.programs import run

_MAGIC = b"XFSB"
_NEEDS_REPAIR = 1 << 4
_GEOMETRY, _GEOMETRY_LENGTH = 0x8100587E, 256
"""XFS_IOC_FSGEOMETRY: begins with the block size; the eighth word is the share of inodes."""
_GROW = 0x4010586E
"""XFS_IOC_FSGROWFSDATA: a number of blocks and that share."""
_SECONDS = 600.0


class Xfs(BlockFileSystem):
    """Replays its own log when mounted and refuses to mount when that is not enough."""

    name: ClassVar[str] = "xfs"
    minimum: ClassVar[int] = 300 * 1024**2
    initial: ClassVar[int] = 96 * 1024**2
    mount_options: ClassVar[str] = "nouuid"
    """A clone has the identity of what it was made from; both may be mounted on one node."""

    def make(self, device: Path, *, label: str) -> None:
        """Sectors of 4096 bytes, so that the image also works above a disk that has no smaller."""
        arguments = ["-q", "-f", "-K", "-s", "size=4096", "-L", label[:12]]
        run(["mkfs.xfs", *arguments, device], seconds=_SECONDS)

    def size(self, device: Path) -> int:
        length, blocks = struct.unpack_from(">IQ", self._superblock(device), 4)
        return int(length * blocks)

    def repair(self, device: Path) -> None:
        if struct.unpack_from(">I", self._superblock(device), 0xD8)[0] & _NEEDS_REPAIR:
            raise Damaged(f"the XFS file system on {device} needs repair: {self.advice(device)}")

    def examine(self, device: Path) -> str:
        done = run(["xfs_repair", "-n", "-f", device], seconds=_SECONDS, good=(0, 1))
        return "" if done.returncode == 0 else " ".join(done.stderr.split())[-600:]

    def grow_unmounted(self, device: Path, size: int) -> bool:
        return False

    def grow_mounted(self, device: Path, mounted: Path, size: int) -> bool:
        """Asked of the kernel directly: xfs_growfs looks at every mount of the machine first, and
        waits for ever when one of them hangs."""
        descriptor = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            geometry = bytearray(_GEOMETRY_LENGTH)
            fcntl.ioctl(descriptor, _GEOMETRY, geometry)
            length, inode_share = struct.unpack_from("=I24xI", geometry)
            fcntl.ioctl(descriptor, _GROW, struct.pack("=QI4x", size // length, inode_share))
        finally:
            os.close(descriptor)
        return True

    def advice(self, device: Path) -> str:
        return (
            f"run `xfs_repair {device}` while the volume is not mounted; if it says that the log "
            "has to be replayed and mounting fails, `xfs_repair -L` gives up the newest changes"
        )

    def _superblock(self, device: Path) -> bytes:
        block = superblock(device, 0, 512)
        if block[:4] != _MAGIC:
            raise Damaged(f"{device} holds no XFS file system; {self.advice(device)}")
        return block
