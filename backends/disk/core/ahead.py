"""Reading ahead: which blocks will be wanted next, by those that were. Pure.

A read that begins near where another one ended continues its stream. Each continuation doubles how
far ahead the stream is fetched; several streams go on side by side.
"""

from dataclasses import dataclass

FIRST = 64
"""Blocks that are fetched ahead of a stream's second read: 256 KiB."""
MOST = 4096
"""... and of one that goes on: 16 MiB."""
_NEAR = 64
"""Reads of one stream may overtake each other by so many blocks."""
_STREAMS = 8


@dataclass
class _Stream:
    end: int
    """The block behind the furthest that was read."""
    window: int = 0
    asked: int = 0
    """The block behind the furthest that was fetched ahead."""


class Ahead:
    """The streams of one disk. Not thread-safe."""

    def __init__(self) -> None:
        self._streams: list[_Stream] = []
        """The one that was read last is the last."""

    def after(self, first: int, count: int) -> tuple[int, int] | None:
        """What to fetch (first block, count) now that these were read; None: nothing yet."""
        end = first + count
        stream = self._continued(first)
        if stream is None:
            self._streams = [*self._streams[-_STREAMS + 1 :], _Stream(end)]
            return None
        self._streams.remove(stream)
        self._streams.append(stream)
        stream.end = max(stream.end, end)
        wanted = stream.end + (stream.window or FIRST)
        if stream.asked - stream.end > stream.window // 2:
            return None
        stream.window = min(MOST, 2 * (stream.window or FIRST))
        start = max(stream.asked, stream.end)
        stream.asked = wanted = stream.end + stream.window
        return start, wanted - start

    def _continued(self, first: int) -> _Stream | None:
        for stream in reversed(self._streams):
            if stream.end - _NEAR <= first <= stream.end + _NEAR:
                return stream
        return None
