"""A file's bytes, read as far as somebody looks at them."""

from collections.abc import Callable

STEP = 1 << 20
"""Bytes that are read at a time."""


class Pages:
    """Looked at from front to back, as `bytes` is. `read(offset, length)` gives less at the end."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._found = bytearray()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        stop = min(part.stop, self._size)
        while len(self._found) < stop:
            more = self._read(len(self._found), STEP)
            if not more:
                break
            self._found += more
        return bytes(self._found[part.start : stop])
