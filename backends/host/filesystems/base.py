"""What the layouts that need a file system of their own ask of one."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from backends.errors import Damaged


class BlockFileSystem(ABC):
    """One kind of file system. `device` is a block device or an image file that nothing uses;
    every method raises HostError when a program fails."""

    name: ClassVar[str]
    minimum: ClassVar[int]
    """Bytes below which mkfs refuses or the result is of no use."""
    initial: ClassVar[int]
    """Bytes that must be free for mkfs and the first mount, roughly."""
    mount_options: ClassVar[str]

    @abstractmethod
    def make(self, device: Path, *, label: str) -> None:
        """Format. The device reads as zeros wherever nothing was written."""

    @abstractmethod
    def size(self, device: Path) -> int:
        """Bytes the file system spans, read from its superblock. Damaged when it has none."""

    @abstractmethod
    def repair(self, device: Path) -> None:
        """Repair what the superblock says is wrong, if that is safe without a person; costs no
        program when nothing is. Damaged, saying what to do, when it is not safe."""

    @abstractmethod
    def examine(self, device: Path) -> str:
        """Look everything over without changing anything; what is wrong, in the words of the
        kind's own program, or nothing."""

    @abstractmethod
    def grow_unmounted(self, device: Path, size: int) -> bool:
        """Grow to `size` bytes before mounting. False: this kind grows only while mounted."""

    @abstractmethod
    def grow_mounted(self, device: Path, mounted: Path, size: int) -> bool:
        """Grow to `size` bytes while mounted at `mounted`. False: the kernel does not let us."""

    @abstractmethod
    def advice(self, device: Path) -> str:
        """What a person should try when the kernel refuses to mount."""


def superblock(device: Path, offset: int, length: int) -> bytes:
    """Raw bytes of a device. Raises Damaged when there are fewer, OSError."""
    with device.open("rb", buffering=0) as opened:
        opened.seek(offset)
        found = opened.read(length)
    if len(found) < length:
        raise Damaged(f"{device} is too short to hold a file system")
    return found
