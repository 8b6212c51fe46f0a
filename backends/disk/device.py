"""What the data path (FUSE) asks of a disk: the one seam between the kernel's side and the log."""

from typing import Protocol

BLOCK = 4096
"""Bytes of a sector: every offset and length is a multiple of it."""


class BlockDevice(Protocol):
    """A disk of `size` bytes. Methods may be called from several threads at once; the order of
    calls that overlap is not defined, that of calls that do not is kept, as on any disk.

    Every method raises Fenced once this node has lost the volume, and HostError once the local
    log has failed: from then on nothing is ever acknowledged again. Read raises Damaged for
    blocks whose bytes do not match their checksum; never zeros instead.
    """

    size: int
    """Bytes; a multiple of BLOCK."""

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """The latest bytes written; zeros where nothing was, or where it was discarded."""

    def write(self, offset: int, data: bytes | memoryview, unique: int) -> None:
        """Return when the bytes are in the local log, not yet synced. `data` is not kept.

        `unique` is the FUSE request's id: a request that was taken by a server which died may be
        passed again and is then only acknowledged, whatever was written since. Waits, and never
        fails, while too many bytes are not yet in the store."""

    def flush(self) -> None:
        """Return when all writes that returned before are durable as `durability` says."""

    def discard(self, offset: int, length: int) -> None:
        """Make the range read as zeros. Ordered like a write; also serves write-zeroes."""

    def close(self) -> None:
        """Flush, ship what is not in the store, let go of local resources. Repeatable."""
