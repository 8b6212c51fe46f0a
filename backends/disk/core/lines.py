"""Which line of a cache holds what, in 24 bytes a line. Pure.

What is found by its name is marked as used. A hand goes round the lines and takes the first that
has no mark; it takes the marks away as it passes. So what is used between two rounds stays.
"""

import struct
from array import array
from collections.abc import Iterable

_KNOWN = 8
"""Bytes of a name that are remembered: names are digests, and whoever finds the bytes of another
one finds out by their checksum."""
_ENTRY = struct.Struct("<QI")
"""What a bucket has of a line: the beginning of its name, and its number."""
_FILL = 16
"""Entries of a bucket, on average, when every line is taken."""


class Lines:
    """Of so many lines. A name is 8 random bytes, what follows does not count. Not thread-safe."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._buckets = [b""] * max(1, count // _FILL)
        self._names = array("Q", bytes(_KNOWN * count))
        """Of each line; 0: it holds nothing."""
        self._used = bytearray(count)
        self._free: list[int] = []
        """Lines that were dropped; others may be free, too."""
        self._hand = 0

    def __len__(self) -> int:
        return self._taken

    def __contains__(self, name: bytes) -> bool:
        return self._find(name) is not None

    def use(self, name: bytes) -> int | None:
        """The line that holds this, or None."""
        line = self._find(name)
        if line is not None:
            self._used[line] = 1
        return line

    def spare(self) -> int:
        """A line that holds nothing: if there was none, one that was not used for long."""
        line = self._free.pop() if self._free else self._turn()
        self._forget(line)
        return line

    def put(self, name: bytes, line: int) -> None:
        """A line that held nothing holds this, which no other line holds."""
        self._names[line] = known = int.from_bytes(name[:_KNOWN], "little")
        self._buckets[known % len(self._buckets)] += _ENTRY.pack(known, line)
        self._taken += 1

    def restore(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Lines and what they hold, of which all that hold nothing are used first."""
        buckets, names, size = self._buckets, self._names, len(self._buckets)
        for line, name in found:
            known = int.from_bytes(name[:_KNOWN], "little")
            entry, place = _ENTRY.pack(known, line), known % size
            if entry[:_KNOWN] not in buckets[place]:
                names[line] = known
                buckets[place] += entry
                self._used[line] = 1
                self._taken += 1

    def drop(self, name: bytes) -> None:
        """Nobody holds this."""
        line = self._find(name)
        if line is not None:
            self._forget(line)
            self._free.append(line)

    def _find(self, name: bytes) -> int | None:
        known = name[:_KNOWN]
        bucket = self._buckets[int.from_bytes(known, "little") % len(self._buckets)]
        at = bucket.find(known)
        while at % _ENTRY.size:  # also -1
            if at < 0:
                return None
            at = bucket.find(known, at + 1)
        return int.from_bytes(bucket[at + _KNOWN : at + _ENTRY.size], "little")

    def _forget(self, line: int) -> None:
        known = self._names[line]
        if not known:
            return
        entry, place = _ENTRY.pack(known, line), known % len(self._buckets)
        bucket = self._buckets[place]
        at = bucket.find(entry)
        while at % _ENTRY.size and at >= 0:
            at = bucket.find(entry, at + 1)
        if at >= 0:
            self._buckets[place] = bucket[:at] + bucket[at + _ENTRY.size :]
        self._names[line] = self._used[line] = 0
        self._taken -= 1

    def _turn(self) -> int:
        """Move the hand to a line without a mark."""
        line = self._used.find(0, self._hand)
        if line < 0:
            self._used[self._hand :] = bytes(self._count - self._hand)
            self._hand = 0
            line = self._used.find(0)
        if line < 0:
            self._used[:], line = bytes(self._count), 0
        self._used[self._hand : line] = bytes(line - self._hand)
        self._hand = (line + 1) % self._count
        return line
