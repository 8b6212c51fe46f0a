"""A place of our own to mount something for a moment."""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.host import files, mountinfo, mounts, targets


@dataclass(frozen=True)
class Staging:
    """Mount points below a profile's state directory, one per volume."""

    directory: Path

    @contextlib.contextmanager
    def place(self, uuid: str) -> Iterator[Path]:
        """A mount point for the block. What is mounted on it is unmounted after the block; what a
        crash left on it, before."""
        files.make_directory(self.directory, 0o700)
        stage = Path(os.path.realpath(self.directory)) / uuid
        self.clear_mount(stage)
        targets.make(stage)
        try:
            yield stage
        finally:
            self.clear_mount(stage)
            targets.clear(stage)

    def clear(self, uuid: str) -> None:
        """Take away what a crash left."""
        stage = Path(os.path.realpath(self.directory)) / uuid
        self.clear_mount(stage)
        targets.clear(stage)

    def sweep(self) -> None:
        """Take away everything that a crash left. Called once, before any other use."""
        if self.directory.is_dir():
            for stage in self.directory.iterdir():
                self.clear(stage.name)

    def make_read_only(self, stage: Path) -> None:
        """Make what is mounted on a stage read-only, and every bind of it from now on."""
        mount = mountinfo.top(mountinfo.read(), str(stage))
        mounts.make_read_only(stage, mount.options if mount else ())

    def clear_mount(self, place: Path) -> None:
        """Unmount everything from a place; lazily when something looks into it just now."""
        while mountinfo.top(mountinfo.read(), os.path.realpath(place)) is not None:
            try:
                mounts.unmount(place)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                mounts.unmount(place, lazily=True)
