"""Reading blocks that are in the store, through the cache, every one checked.

A miss fetches more than was asked: a request costs milliseconds however short it is, and what was
written together is read together. A stream that reads on where it ended doubles what it fetches.
"""

import zlib
from collections.abc import Callable, Sequence

from backends.disk.blockmap import Stored
from backends.disk.cache import FRAME, Cache
from backends.disk.naming import located
from backends.errors import Damaged, NotFound, Unavailable
from backends.stores.base import Store

LEAST = 4
"""Frames that a miss fetches: 256 KiB."""
MOST = 128
"""Frames that a stream fetches at once: 8 MiB."""
_REFETCH = 3


class Reader:
    """Reads from one disk's objects. `wait(n)`: see Journal."""

    def __init__(
        self, store: Store, prefix: str, cache: Cache, wait: Callable[[int], None]
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._cache = cache
        self._wait = wait
        self._stream: dict[int, tuple[int, int]] = {}
        """By object: the frame that comes next, and how many to fetch."""

    def read(self, wanted: Sequence[Stored]) -> list[bytes]:
        """The bytes of each block. NotFound when an object is gone: look again where the blocks
        are. Damaged when bytes are wrong however often they are fetched."""
        return [self._block(stored, wanted[at:]) for at, stored in enumerate(wanted)]

    def _block(self, stored: Stored, rest: Sequence[Stored]) -> bytes:
        frame, place = divmod(stored.place, FRAME)
        body = self._cache.get(stored.number, frame)
        for _ in range(_REFETCH):
            if body is not None:
                block = body[place * 4096 : place * 4096 + 4096]
                if len(block) == 4096 and zlib.crc32(block) == stored.checksum:
                    return block
                self._cache.drop(stored.number, [frame])
            body = self._fetch(stored, frame, rest)
        block = body[place * 4096 : place * 4096 + 4096] if body else b""
        if len(block) == 4096 and zlib.crc32(block) == stored.checksum:
            return block
        key = located(self._prefix, stored.holder.key)
        raise Damaged(
            f"object {key} is damaged at its block {stored.place}; "
            "restore the object from a backup of the bucket"
        )

    def _fetch(self, stored: Stored, frame: int, rest: Sequence[Stored]) -> bytes:
        """Get a window of frames that begins with `frame`; keep all, return the first."""
        frames = self._window(stored, frame, rest)
        start = stored.holder.start + frame * FRAME * 4096
        length = min(frames * FRAME, stored.holder.blocks - frame * FRAME) * 4096
        body = self._get(stored.holder.key, start, length)
        size = FRAME * 4096
        for index in range(0, len(body), size):
            self._cache.put(
                stored.number, frame + index // size, memoryview(body)[index : index + size]
            )
        return body[:size]

    def _window(self, stored: Stored, frame: int, rest: Sequence[Stored]) -> int:
        expected, frames = self._stream.get(stored.number, (-1, LEAST))
        frames = min(MOST, frames * 2) if expected == frame else LEAST
        asked = [s.place // FRAME for s in rest if s.number == stored.number]
        frames = max(frames, min(MOST, max(asked, default=frame) - frame + 1))
        if len(self._stream) > 256:
            self._stream.clear()
        self._stream[stored.number] = (frame + frames, frames)
        return frames

    def _get(self, key: str, start: int, length: int) -> bytes:
        count = 0
        while True:
            try:
                return self._store.get_range(located(self._prefix, key), start, length)
            except NotFound:
                raise
            except Unavailable:
                count += 1
                self._wait(count)
