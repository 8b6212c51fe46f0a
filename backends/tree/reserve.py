"""A little room on a full disk.

A volume that has filled its disk must still be let go, mounted again and removed, and each of
these changes a record first. So a file holds some room back, and gives it up for that moment.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from backends.errors import NoSpace
from backends.host.failures import explained

T = TypeVar("T")
SIZE = 1024**2


@dataclass(frozen=True)
class Reserve:
    """The file that holds the room. Many nodes may use one; it is made again when it can be."""

    path: Path

    def ensure(self) -> None:
        """Hold the room, if there is any."""
        if self.path.exists():
            return
        try:
            with self.path.open("xb") as held:
                os.posix_fallocate(held.fileno(), 0, SIZE)
        except FileExistsError:
            return
        except OSError:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def spend(self, work: Callable[[], T]) -> T:
        """What `work` returns; if it finds no space, it gets the room and is called again."""
        try:
            return work()
        except NoSpace:
            with explained(f"give up {self.path}"):
                self.path.unlink(missing_ok=True)
            try:
                return work()
            finally:
                self.ensure()
