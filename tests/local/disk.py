"""A disk that can become full, read-only or bad."""

import os
from dataclasses import dataclass
from pathlib import Path

from backends.host import mounts

_MS_REMOUNT_RDONLY = mounts.MS_REMOUNT | mounts.MS_RDONLY


@dataclass(frozen=True)
class Disk:
    """`path`: where it is mounted; `image`: the file it is made of."""

    path: Path
    image: Path
    number: int

    def fill(self, leave: int = 0) -> None:
        """Write until no more than `leave` bytes are free."""
        facts = os.statvfs(self.path)
        margin = max(leave, 2**20)  # the file needs some blocks to note where its blocks are
        size = max(facts.f_bavail * facts.f_frsize - margin, 4096)
        with (self.path / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, size)
            if not leave:
                self._top_up(filler.fileno())

    def _top_up(self, descriptor: int) -> None:
        block, end = b"x" * 4096, os.fstat(descriptor).st_size
        try:
            while True:
                end += os.pwrite(descriptor, block, end)
                os.fsync(descriptor)
        except OSError:
            return

    def empty(self) -> None:
        """Undo `fill`."""
        (self.path / "filler").unlink()

    def read_only(self) -> None:
        """Remount it read-only, as the kernel does with a disk that fails."""
        mounts.mount(Path(f"/dev/loop{self.number}"), self.path, "ext4", flags=_MS_REMOUNT_RDONLY)

    def writable(self) -> None:
        """Undo `read_only`."""
        mounts.mount(Path(f"/dev/loop{self.number}"), self.path, "ext4", flags=mounts.MS_REMOUNT)

    def lose_all_but(self, size: int) -> None:
        """Sectors beyond `size` bytes give input/output errors from now on."""
        os.truncate(self.image, size)
