"""Reading blocks that are in the store, through the cache, every one checked.

A miss fetches more than was asked: a request costs milliseconds however short it is, and what was
written together is read together. What one read needs of several places is fetched at once, and
nobody fetches what somebody else is fetching already.
"""

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import cast

from backends.disk.core.blockmap import Stored, StoredObject
from backends.disk.core.coding import FRAME, PLAIN, Coder, frame_blocks, frames_of
from backends.disk.core.naming import located
from backends.disk.reading.cache import Cache
from backends.errors import Damaged, KedgeError, NotFound, Unavailable
from backends.stores.base import Store

LEAST = 4
"""Frames that a miss fetches: 256 KiB."""
MOST = 32
"""Frames that are fetched with one request at most: 2 MiB."""
_REFETCH = 3
Body = bytes | memoryview
Wanted = tuple[int, Stored]
"""Where a block is to be put, and where it is."""
_NAMED = 20
"""Damaged objects that are named one by one."""


@dataclass(frozen=True)
class _Window:
    """Frames of one object that are fetched together."""

    holder: StoredObject
    first: int
    count: int

    def names(self) -> Iterator[tuple[str, int]]:
        for frame in range(self.first, self.first + self.count):
            yield self.holder.key, frame


class Reader:
    """Reads from one disk's objects. `wait(n)`: see Journal. `pool` is for what somebody
    waits for; without one, one thing is fetched at a time, without `background`, nothing that
    nobody has asked for."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        cache: Cache,
        wait: Callable[[int], None],
        coder: Coder = PLAIN,
        pool: Executor | None = None,
        background: Executor | None = None,
        last: Store | None = None,
    ) -> None:
        """`last`: the store for what nobody waits for."""
        self._store = store
        self._last = last or store
        self._prefix = prefix
        self._cache = cache
        self._wait = wait
        self._coder = coder
        self._pool = pool
        self._background = background
        self.damaged: dict[str, None] = {}
        """What was found damaged or missing since the disk was opened, for people, each once."""
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, int], Future[Body]] = {}

    def read(self, wanted: Sequence[Stored]) -> list[bytes]:
        """The bytes of each block. NotFound when an object is gone: look again where the blocks
        are. Damaged when bytes are wrong however often they are fetched."""
        body = bytearray(len(wanted) * 4096)
        if wanted:
            self.read_into(memoryview(body), list(enumerate(wanted)))
        return [bytes(body[at : at + 4096]) for at in range(0, len(body), 4096)]

    def read_into(self, view: memoryview, wanted: Sequence[Wanted]) -> None:
        """The same of one block or more, each to its place in `view`: what is there was checked
        there. After an error `view` holds anything."""
        runs = _together(wanted) if len(wanted) > 1 else [wanted]
        left = [run for run in runs if not self._cached(_part(view, run), run)]
        if not left:
            return
        frames = self._gather([run[0][1] for run in left])
        for run in left:
            if not _copied(_part(view, run), run, frames):
                for place, stored in run:
                    view[place * 4096 : place * 4096 + 4096] = self._block(stored, frames)

    def prefetch(self, wanted: Sequence[Stored]) -> list["Future[object]"]:
        """Have these blocks in the cache soon, if that is possible: what is on its way."""
        started: list[Future[object]] = []
        if self._background is None:
            return started
        missing = [s for s in _by_frame(wanted) if not self._cache.holds(s.holder.key, _frame(s))]
        for window in self._windows(missing, least=1):
            if taken := self._claim(window):
                task = self._background.submit(self._fetch, window, taken, patient=False)
                started.append(cast("Future[object]", task))
        return started

    def _cached(self, part: memoryview, run: Sequence[Wanted]) -> bool:
        """Read blocks that lie side by side in one frame, and only them, from the cache. False:
        they are not there, or wrong."""
        _, first = run[0]
        start = first.place % FRAME * 4096
        there = self._cache.read_into(first.holder.key, _frame(first), start, part)
        return there and _right(part, run)

    def _gather(self, wanted: Sequence[Stored]) -> dict[tuple[str, int], Body | None]:
        """The frames of these blocks, from the cache or the store; not checked yet."""
        firsts = _by_frame(wanted)
        found: dict[tuple[str, int], Body | None] = {
            (s.holder.key, _frame(s)): self._cache.get(s.holder.key, _frame(s)) for s in firsts
        }
        missing = [s for s in firsts if found[s.holder.key, _frame(s)] is None]
        coming = self._start(missing)
        for name, flight in coming.items():
            try:
                found[name] = flight.result()
            except Unavailable:
                found[name] = None  # it was somebody's who does not wait as we do
        return found

    def _start(self, missing: Sequence[Stored]) -> dict[tuple[str, int], "Future[Body]"]:
        """Let everything that is missing be fetched, the last in this thread."""
        own = []
        for window in self._windows(missing, least=LEAST):
            if taken := self._claim(window):
                own.append((window, taken))
        with self._lock:
            names = [(s.holder.key, _frame(s)) for s in missing]
            coming = {name: self._flights[name] for name in names if name in self._flights}
        for window, taken in own[:-1]:
            if self._pool is None:
                self._fetch(window, taken, patient=True)
            else:
                self._pool.submit(self._fetch, window, taken, patient=True)
        if own:
            self._fetch(*own[-1], patient=True)
        return coming

    def _windows(self, missing: Sequence[Stored], least: int) -> list[_Window]:
        """What lies side by side is fetched together."""
        found: list[_Window] = []
        for stored in missing:
            frame, last = _frame(stored), found[-1] if found else None
            if last and last.holder is stored.holder and last.first <= frame < last.first + MOST:
                count = max(last.count, frame - last.first + 1)
                found[-1] = _Window(last.holder, last.first, count)
            else:
                found.append(_Window(stored.holder, frame, 1))
        return [_Window(w.holder, w.first, self._reach(w, least)) for w in found]

    def _reach(self, window: _Window, least: int) -> int:
        end = frames_of(window.holder.blocks) - window.first
        return min(max(window.count, least), end)

    def _claim(self, window: _Window) -> dict[tuple[str, int], "Future[Body]"]:
        """Note that the frames of a window are being fetched, those that are not already."""
        with self._lock:
            fresh = [name for name in window.names() if name not in self._flights]
            taken: dict[tuple[str, int], Future[Body]] = {name: Future() for name in fresh}
            self._flights |= taken
            return taken

    def _fetch(
        self, window: _Window, taken: dict[tuple[str, int], "Future[Body]"], *, patient: bool
    ) -> None:
        """Fetch a window, keep it, and tell whoever waits for the frames that were `taken`."""
        try:
            found = self._frames(window, patient)
            for name, body in found.items():
                if body:
                    self._cache.put(*name, body)
        except BaseException as error:
            self._land(taken, error)
            if not isinstance(error, KedgeError):
                raise
            return
        self._land(taken, found)

    def _land(
        self,
        taken: dict[tuple[str, int], "Future[Body]"],
        found: dict[tuple[str, int], Body] | BaseException,
    ) -> None:
        with self._lock:
            for name in taken:
                del self._flights[name]
        for name, flight in taken.items():
            if isinstance(found, BaseException):
                flight.set_exception(found)
            else:
                flight.set_result(found[name])

    def _frames(self, window: _Window, patient: bool) -> dict[tuple[str, int], Body]:
        holder, first = window.holder, window.first
        if holder.frames:
            start, length = holder.frames.span(first, window.count)
        else:
            start = first * FRAME * 4096
            length = min(window.count * FRAME, holder.blocks - first * FRAME) * 4096
        body = memoryview(self._get(holder.key, holder.start + start, length, patient))
        return {name: self._decoded(holder, name[1], body, start) for name in window.names()}

    def _decoded(self, holder: StoredObject, frame: int, body: memoryview, start: int) -> Body:
        """One frame of what begins at byte `start` behind the object's head; empty: it is bad."""
        blocks = frame_blocks(holder.blocks, frame)
        if not holder.frames:
            at = frame * FRAME * 4096 - start
            return body[at : at + blocks * 4096]
        at, length = holder.frames.span(frame, 1)
        try:
            coded = bytes(body[at - start : at - start + length])
            return self._coder.decode(holder.frames, frame, coded, blocks)
        except Damaged:
            return b""

    def _block(self, stored: Stored, frames: dict[tuple[str, int], Body | None]) -> Body:
        """The block, checked; fetched again while it is wrong."""
        name = (stored.holder.key, _frame(stored))
        for times in range(_REFETCH):
            if (block := _in(frames[name], stored)) is not None:
                return block
            self._cache.drop(name[0], [name[1]])
            if times:  # the first that was wrong may have been the cache's
                self._store.renew()
            frames[name] = self._frames(_Window(stored.holder, name[1], 1), patient=True)[name]
        if (block := _in(frames[name], stored)) is not None:
            self._cache.put(*name, frames[name] or b"")
            return block
        key = located(self._prefix, stored.holder.key)
        self.note_damage(f"object {key} is damaged")
        raise Damaged(
            f"object {key} is damaged at its block {stored.place}; "
            "restore the object from a backup of the bucket"
        )

    def note_damage(self, fault: str) -> None:
        """Remember for people that an object is damaged or missing."""
        with self._lock:
            if len(self.damaged) < _NAMED:
                self.damaged[fault] = None

    def _get(self, key: str, start: int, length: int, patient: bool) -> bytes:
        count, store = 0, self._store if patient else self._last
        while True:
            try:
                return store.get_range(located(self._prefix, key), start, length)
            except NotFound:
                raise
            except Unavailable:
                if not patient:
                    raise
                count += 1
                self._wait(count)


def _together(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Those that lie side by side in one frame, and are to lie side by side."""
    begin = 0
    for end in range(1, len(wanted)):
        (at, last), (following, stored) = wanted[end - 1], wanted[end]
        near = following == at + 1 and stored.place == last.place + 1
        if not near or stored.number != last.number or not stored.place % FRAME:
            yield wanted[begin:end]
            begin = end
    yield wanted[begin:]


def _part(view: memoryview, run: Sequence[Wanted]) -> memoryview:
    """Where a run is to be put."""
    at = run[0][0]
    return view[at * 4096 : (at + len(run)) * 4096]


def _copied(
    part: memoryview, run: Sequence[Wanted], frames: Mapping[tuple[str, int], Body | None]
) -> bool:
    """Copy a run out of its frame. False: something of it is wrong."""
    _, first = run[0]
    start = first.place % FRAME * 4096
    body = (frames[first.holder.key, _frame(first)] or b"")[start : start + len(part)]
    if len(body) != len(part):
        return False
    part[:] = body
    return _right(part, run)


def _right(part: memoryview, run: Sequence[Wanted]) -> bool:
    """Whether each block is what it must be."""
    at = 0
    for _, stored in run:
        if zlib.crc32(part[at : at + 4096]) != stored.checksum:
            return False
        at += 4096
    return True


def _frame(stored: Stored) -> int:
    return stored.place // FRAME


def _by_frame(wanted: Sequence[Stored]) -> list[Stored]:
    """One block of each frame, in the order of the objects, those of one object ascending."""
    found = {(s.number, _frame(s)): s for s in wanted}
    return [found[name] for name in sorted(found)]


def _in(body: Body | None, stored: Stored) -> Body | None:
    """The block in its frame, if it is the right one."""
    place = stored.place % FRAME
    block = body[place * 4096 : place * 4096 + 4096] if body else b""
    right = len(block) == 4096 and zlib.crc32(block) == stored.checksum
    return block if right else None
