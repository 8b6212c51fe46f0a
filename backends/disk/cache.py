"""The read cache: frames of objects in one local file of fixed size, the least used go first.

It may lose or spoil anything at any time: whoever reads from it checks every block. So nothing of
it is ever synced, and an error of its file is a miss.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from backends.disk.coding import FRAME

_BYTES = FRAME * 4096


class Cache:
    """Frames by (object id, frame number). Thread-safe. Begins empty: its index is in memory."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` in bytes; the file is made, sparse, and has no name once it is open."""
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._lines: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._free = list(range(max(1, size // _BYTES)))
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC, 0o600)
        os.unlink(path)

    def get(self, number: int, frame: int) -> bytes | None:
        """The frame as it was put (the last of an object may be shorter), or None."""
        with self._lock:
            line = self._lines.get((number, frame))
            if line is None:
                self.misses += 1
                return None
            self._lines.move_to_end((number, frame))
            self.hits += 1
            try:
                return os.pread(self._file, _BYTES, line * _BYTES)
            except OSError:
                return None

    def put(self, number: int, frame: int, body: bytes | memoryview) -> None:
        """Keep a frame; there already: nothing."""
        with self._lock:
            if (number, frame) in self._lines:
                return
            line = self._free.pop() if self._free else self._lines.popitem(last=False)[1]
            try:
                os.pwrite(self._file, body, line * _BYTES)
            except OSError:
                self._free.append(line)
                return
            self._lines[number, frame] = line

    def drop(self, number: int, frames: Iterable[int]) -> None:
        """Forget frames: they were found wrong, or their object is gone."""
        with self._lock:
            for frame in frames:
                line = self._lines.pop((number, frame), None)
                if line is not None:
                    self._free.append(line)

    def used(self) -> int:
        """Bytes in use."""
        return len(self._lines) * _BYTES

    def close(self) -> None:
        """Let go of the file and its space."""
        with self._lock:
            self._lines.clear()
            self._free = []
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
