"""What is read right after a mount, remembered for the next one on a node that has nothing.

    hot/<epoch>-<random>     a list of block ranges; a hint, which may be missing, old or wrong

Blocks are named by where they are on the disk, not in which object: the hint outlives collection.
"""

import json
import zlib
from collections.abc import Callable, Iterable

from backends.disk.core.coding import FRAME
from backends.disk.core.intervals import Intervals
from backends.errors import Damaged

PREFIX = "hot/"
SECONDS = 30.0
"""For so long after it was opened, what a disk reads is noted."""
MOST = 4096
"""Runs of FRAME blocks that are noted: 256 MiB."""
_MAGIC = b"kedgehot"


class Hot:
    """What one disk reads while it is young. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + SECONDS
        self._runs: set[int] = set()
        self.done = False
        """Whether `ranges` were asked for since the time is over."""

    def note(self, first: int, count: int) -> None:
        """These blocks were read."""
        if len(self._runs) < MOST and self._clock() < self._until:
            self._runs.update(range(first // FRAME, (first + count - 1) // FRAME + 1))

    def due(self) -> bool:
        """Whether it is time to keep what was noted."""
        return not self.done and self._clock() >= self._until

    def ranges(self) -> list[tuple[int, int]]:
        """(first block, count), sorted."""
        found = Intervals()
        for run in sorted(self._runs):
            found.add(run * FRAME, FRAME)
        return list(found)


def encode(ranges: Iterable[tuple[int, int]]) -> bytes:
    """The hint's bytes."""
    body = zlib.compress(json.dumps({"format": 1, "ranges": list(ranges)}).encode())
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode(body: bytes) -> list[tuple[int, int]]:
    """The ranges. Damaged when it is no such hint."""
    try:
        if body[:8] != _MAGIC or zlib.crc32(body[12:]) != int.from_bytes(body[8:12], "little"):
            raise ValueError("its checksum is wrong")
        found = json.loads(zlib.decompress(body[12:]))
        if found["format"] != 1:
            raise ValueError(f"format {found['format']}")
        return [(int(first), int(count)) for first, count in found["ranges"]]
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Damaged(f"a list of hot blocks cannot be read: {error}") from error
