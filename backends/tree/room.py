"""Is there room for an image, now and when it is full?"""

import os
from pathlib import Path

from backends.errors import NoSpace
from backends.options import Size


def require_room(root: Path, *, size: int, needed: int) -> None:
    """A sparse image takes little room at first, but must be able to become full.

    Raises NoSpace when the file system of `root` could never hold `size` bytes, or has less than
    `needed` bytes free now."""
    facts = os.statvfs(root)
    total, free = facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize
    if size > total:
        raise NoSpace(f"size={Size(size)} is more than {root} can ever hold ({total} bytes)")
    if free < needed:
        raise NoSpace(f"{root} has {free} bytes left, {needed} are needed now; free some")
