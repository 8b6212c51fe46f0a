"""Reading blocks that are in the store, through the cache, every one checked.

A miss fetches more than was asked: a request costs milliseconds however short it is, and what was
written together is read together. A stream that reads on where it ended doubles what it fetches.
"""

import zlib
from collections.abc import Callable, Sequence

from backends.disk.blockmap import Stored, StoredObject
from backends.disk.cache import Cache
from backends.disk.coding import FRAME, PLAIN, Coder, frame_blocks, frames_of
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
        self,
        store: Store,
        prefix: str,
        cache: Cache,
        wait: Callable[[int], None],
        coder: Coder = PLAIN,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._cache = cache
        self._wait = wait
        self._coder = coder
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
        holder = stored.holder
        count = min(self._window(stored, frame, rest), frames_of(holder.blocks) - frame)
        if holder.frames:
            start, length = holder.frames.span(frame, count)
        else:
            start = frame * FRAME * 4096
            length = min(count * FRAME, holder.blocks - frame * FRAME) * 4096
        body = memoryview(self._get(holder.key, holder.start + start, length))
        found = [self._decoded(holder, frame + at, body, start) for at in range(count)]
        for at, one in enumerate(found):
            if one:
                self._cache.put(stored.number, frame + at, one)
        return found[0]

    def _decoded(self, holder: StoredObject, frame: int, body: memoryview, start: int) -> bytes:
        """One frame of what begins at byte `start` behind the object's head; empty: it is bad."""
        blocks = frame_blocks(holder.blocks, frame)
        if not holder.frames:
            at = frame * FRAME * 4096 - start
            return bytes(body[at : at + blocks * 4096])
        at, length = holder.frames.span(frame, 1)
        try:
            coded = bytes(body[at - start : at - start + length])
            return self._coder.decode(holder.frames, frame, coded, blocks)
        except Damaged:
            return b""

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
