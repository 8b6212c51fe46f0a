"""ext4. Field offsets: the kernel's Documentation/filesystems/ext4/super.rst."""

import fcntl
import os
import struct
from pathlib import Path
from typing import ClassVar

from backends.errors import Damaged, HostError
from backends.host.filesystems.base import BlockFileSystem, superblock
from backends.host.programs import run

_OFFSET, _LENGTH = 1024, 1024
_MAGIC = 0xEF53
_ERRORS = 2
_INCOMPAT_64BIT = 0x80
_RESIZE_FS = 0x40086610
"""EXT4_IOC_RESIZE_FS: a number of blocks."""
_UNASKED = {"EXT2FS_PRETEND_RO_MOUNT": "1", "EXT2FS_PRETEND_ROOTFS": "1"}
"""Keeps e2fsprogs from looking whether the device is mounted. It would ask every loop device of the
machine for its file, and one whose storage hangs, anybody's, would hang the program for ever. That
the image is not in use has been made sure before."""
_CHECK_SECONDS = 3600.0
_MAKE_SECONDS = 600.0


class Ext4(BlockFileSystem):
    """Stops at the first sign of damage (`errors=remount-ro`): a database must not go on."""

    name: ClassVar[str] = "ext4"
    minimum: ClassVar[int] = 32 * 1024**2
    initial: ClassVar[int] = 16 * 1024**2
    mount_options: ClassVar[str] = "errors=remount-ro"

    def make(self, device: Path, *, label: str) -> None:
        """Blocks of 4096 bytes also when small, for direct I/O; none reserved for root, because
        containers may run as anybody. Nothing is zeroed, now or by a kernel thread later: the
        device reads as zeros already (e2fsprogs 1.47)."""
        layout = ["-b", "4096", "-m", "0", "-e", "remount-ro", "-L", label[:16]]
        zeros = ["-E", "nodiscard,assume_storage_prezeroed=1"]
        arguments: list[str | Path] = ["mkfs.ext4", "-q", "-F", *layout, *zeros, device]
        run(arguments, seconds=_MAKE_SECONDS, environment=_UNASKED)

    def size(self, device: Path) -> int:
        block = self._superblock(device)
        low: int = struct.unpack_from("<I", block, 0x4)[0]
        high: int = 0
        if struct.unpack_from("<I", block, 0x60)[0] & _INCOMPAT_64BIT:
            high = struct.unpack_from("<I", block, 0x150)[0]
        return (high << 32 | low) * self._block_size(block)

    def repair(self, device: Path) -> None:
        state: int = struct.unpack_from("<H", self._superblock(device), 0x3A)[0]
        if state & _ERRORS:
            self._check(device)

    def examine(self, device: Path) -> str:
        """The journal is not replayed: what it would mend is reported."""
        done = run(
            ["e2fsck", "-fn", device],
            seconds=_CHECK_SECONDS,
            good=(0, 4, 8, 12),
            environment=_UNASKED,
        )
        return "" if done.returncode == 0 else " ".join(done.stdout.split())[-600:]

    def grow_unmounted(self, device: Path, size: int) -> bool:
        self._check(device, "-f")
        arguments: list[str | Path] = ["resize2fs", device, f"{size // 1024}K"]
        run(arguments, seconds=_CHECK_SECONDS, environment=_UNASKED)
        return True

    def grow_mounted(self, device: Path, mounted: Path, size: int) -> bool:
        """The kernel asks for CAP_SYS_RESOURCE, which not every service has."""
        blocks = size // self._block_size(self._superblock(device))
        descriptor = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _RESIZE_FS, struct.pack("=Q", blocks))
        except PermissionError:
            return False
        finally:
            os.close(descriptor)
        return True

    def advice(self, device: Path) -> str:
        return f"run `e2fsck -f {device}` while the volume is not mounted"

    def _check(self, device: Path, *extra: str) -> None:
        """Codes: 0 clean, 1 and 2 repaired, 4 and more not (e2fsck(8))."""
        try:
            run(
                ["e2fsck", "-p", *extra, device],
                seconds=_CHECK_SECONDS,
                good=(0, 1, 2, 3),
                environment=_UNASKED,
            )
        except HostError as error:
            raise Damaged(
                f"the ext4 file system on {device} has errors that need a person: "
                f"{self.advice(device)} and answer its questions ({error.message})"
            ) from error

    def _block_size(self, block: bytes) -> int:
        return 1024 << int(struct.unpack_from("<I", block, 0x18)[0])

    def _superblock(self, device: Path) -> bytes:
        block = superblock(device, _OFFSET, _LENGTH)
        if struct.unpack_from("<H", block, 0x38)[0] != _MAGIC:
            raise Damaged(f"{device} holds no ext4 file system; {self.advice(device)}")
        return block
