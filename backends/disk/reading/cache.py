"""The read cache: frames of objects in one local file of fixed size; those go first that nobody
used since the last time round.

It may lose or spoil anything at any time: whoever reads from it checks every block. So nothing of
it is ever synced, and an error of its files is a miss. It lasts: beside the frames lies a table
that says what each line holds, and what a crash tore there is a miss like any other.
"""

import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from backends.disk.core.coding import FRAME
from backends.disk.core.lines import Lines

_BYTES = FRAME * 4096
_SLOT = struct.Struct("<16sI")
_ENTRY = struct.Struct("<16sII")
_SLOT_BYTES = _ENTRY.size
"""What a line holds and how many bytes, and a checksum of that."""


class Cache:
    """Frames by (key of their object, number). Thread-safe."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` in bytes; the files are made, sparse, or found again. Errors of the host."""
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._count = max(1, size // _BYTES)
        self._lines = Lines(self._count)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._table = os.open(path.with_name(f"{path.name}.table"), flags, 0o600)
        self._find()

    def get(self, key: str, frame: int) -> bytes | None:
        """The frame as it was put (the last of an object may be shorter, and then longer by
        rubbish), or None."""
        body = bytearray(_BYTES)
        if self.read_into(key, frame, 0, memoryview(body)):
            return bytes(body)
        self.misses += 1
        return None

    def read_into(self, key: str, frame: int, start: int, view: memoryview) -> bool:
        """Fill `view` with a frame's bytes from `start` on. False: it is not there; then nothing
        is counted, for `get` will be asked."""
        name = _name(key, frame)
        with self._lock:
            line = self._lines.use(name)
            if line is None:
                return False
            self.hits += 1
        try:  # meanwhile others need not wait; if the line gets new bytes now, that is a miss
            return os.preadv(self._file, (view,), line * _BYTES + start) == len(view)
        except OSError:
            return False

    def put(self, key: str, frame: int, body: bytes | memoryview) -> None:
        """Keep a frame; there already: nothing."""
        name = _name(key, frame)
        with self._lock:
            if name in self._lines or self._file < 0:
                return
            line = self._lines.spare()
            try:
                os.pwrite(self._file, body, line * _BYTES)
                os.pwrite(self._table, _slot(name, len(body)), line * _SLOT_BYTES)
            except OSError:
                return
            self._lines.put(name, line)

    def holds(self, key: str, frame: int) -> bool:
        """Whether `get` would find it; counts as no use."""
        with self._lock:
            return _name(key, frame) in self._lines

    def drop(self, key: str, frames: Iterable[int]) -> None:
        """Forget frames: they were found wrong, or their object is gone."""
        with self._lock:
            for frame in frames:
                self._lines.drop(_name(key, frame))

    def used(self) -> int:
        """Bytes in use."""
        return len(self._lines) * _BYTES

    def close(self) -> None:
        """Let go of the files; what is in them is found again."""
        with self._lock:
            self._lines = Lines(1)
            if self._file >= 0:
                os.close(self._file)
                os.close(self._table)
                self._file = -1

    def _find(self) -> None:
        """What an earlier process has left. The order of use is not known any more."""
        table = os.pread(self._table, self._count * _SLOT_BYTES, 0)
        os.ftruncate(self._table, self._count * _SLOT_BYTES)
        os.ftruncate(self._file, self._count * _BYTES)
        self._lines.restore(_whole(table))


class NoCache(Cache):
    """Holds nothing, for those who read everything once."""

    def __init__(self) -> None:
        self.hits = self.misses = 0

    def get(self, key: str, frame: int) -> bytes | None:
        """Never there."""
        return None

    def read_into(self, key: str, frame: int, start: int, view: memoryview) -> bool:
        """Never there."""
        return False

    def put(self, key: str, frame: int, body: bytes | memoryview) -> None:
        """Not kept."""

    def holds(self, key: str, frame: int) -> bool:
        """Never."""
        return False

    def drop(self, key: str, frames: Iterable[int]) -> None:
        """Nothing to do."""

    def used(self) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """Nothing to do."""


def _name(key: str, frame: int) -> bytes:
    return blake2b(f"{key} {frame}".encode(), digest_size=16).digest()


def _whole(table: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines and what they hold, as far as the table is sound."""
    view, size = memoryview(table), _SLOT.size
    end = len(table) // _SLOT_BYTES * _SLOT_BYTES
    for line, (name, length, checksum) in enumerate(_ENTRY.iter_unpack(view[:end])):
        at = line * _SLOT_BYTES
        if length and checksum == zlib.crc32(view[at : at + size]):
            yield line, name


def _slot(name: bytes, length: int) -> bytes:
    slot = _SLOT.pack(name, length)
    return slot + struct.pack("<I", zlib.crc32(slot))
