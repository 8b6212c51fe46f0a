"""Sets of block ranges, kept disjoint and sorted."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Intervals:
    """Ranges [start, end); those that touch become one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(start, count), sorted."""
        return ((at, end - at) for at, end in zip(self._starts, self._ends, strict=True))

    def __contains__(self, block: int) -> bool:
        place = bisect_right(self._starts, block) - 1
        return place >= 0 and block < self._ends[place]

    def add(self, start: int, count: int) -> None:
        """Put a range into the set."""
        end = start + count
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
