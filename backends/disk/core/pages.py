"""A file's bytes, read as far as somebody looks at them."""

from collections.abc import Callable

STEP = 1 << 18
"""Bytes that are read at a time: few enough to stay in the processor's own memory."""


class Pages:
    """Looked at from front to back, as `bytes` is; what lies far behind is read again if somebody
    asks. `read(offset, length)` gives less at the end."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._found = b""
        self._from = self._upto = 0
        """Where the bytes that were read last begin and end."""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop = part.start, part.stop
        if start < self._from or stop > self._upto:
            stop = min(stop, self._size)
            wanted = min(max(STEP, stop - start), self._size - start)
            self._found = self._read(start, wanted) if wanted > 0 else b""
            self._from, self._upto = start, start + len(self._found)
        return self._found[start - self._from : stop - self._from]
