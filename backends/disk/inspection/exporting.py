"""A disk as one stream of bytes, from the bucket alone."""

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from backends.disk.core.blockmap import Stored
from backends.disk.core.overlay import Dirty, Overlay
from backends.disk.core.regions import REGION
from backends.disk.inspection.salvaging import Unreadable
from backends.disk.journal import Journal
from backends.disk.reading.cache import NoCache
from backends.disk.reading.reader import Reader
from backends.errors import Damaged, NotFound
from backends.inspection import Progress, Sink
from backends.stores.base import Store

_ZERO = bytes(4096)
_RUN = 1024
"""Blocks that are read and written at a time: 4 MiB."""


def export(
    store: Store,
    view: Journal,
    to: Sink,
    progress: Progress,
    *,
    wait: Callable[[int], None],
    pool: Executor | None = None,
    over: Overlay | None = None,
    unsent: Callable[[Dirty], bytes] = lambda dirty: b"",
    unreadable: Unreadable | None = None,
) -> int:
    """Write the whole disk; how many bytes. `over`: what lies over it, `unsent` gives those
    blocks. Damaged when a block cannot be read: what was written until then is no disk; unless
    there is a list of the `unreadable`, in which it is noted, and zeros stand in its place."""
    reader = Reader(store, view.prefix, NoCache(), wait, view.coder, pool)
    size = view.map.size
    for first in range(0, size, _RUN):
        count = min(_RUN, size - first)
        _load(view, first, count, unreadable)
        places: list[Stored | Dirty | None] = list(view.map.find(first, count))
        for at in range(count if over else 0):
            lies = over.find(first + at) if over else False
            if lies is not False:
                places[at] = lies if isinstance(lies, Dirty) else None
        if unreadable is None:
            blocks = _blocks(reader, places, unsent)
        else:
            blocks = _possible(reader, places, unsent, first, unreadable)
        to.write(b"".join(blocks))
        progress((first + count) * 4096, size * 4096)
        _forget(view, first + count)
    return size * 4096


def _load(view: Journal, first: int, count: int, unreadable: Unreadable | None) -> None:
    """The part of the map that says where these blocks are."""
    try:
        view.load_regions(first, count)
    except Damaged as error:
        if unreadable is None:
            raise
        for index in view.map.missing(first, count):
            start = max(first, index * REGION)
            end = min(first + count, (index + 1) * REGION)
            unreadable.add(start, end - start, error.message)


def _blocks(
    reader: Reader, places: Sequence[Stored | Dirty | None], unsent: Callable[[Dirty], bytes]
) -> list[bytes]:
    stored = iter(reader.read([place for place in places if isinstance(place, Stored)]))
    return [
        _checked(unsent(place), place)
        if isinstance(place, Dirty)
        else (next(stored) if place else _ZERO)
        for place in places
    ]


def _possible(
    reader: Reader,
    places: Sequence[Stored | Dirty | None],
    unsent: Callable[[Dirty], bytes],
    first: int,
    unreadable: Unreadable,
) -> list[bytes]:
    """The same, with zeros for what cannot be read: what fails is tried by halves."""
    try:
        return _blocks(reader, places, unsent)
    except (Damaged, NotFound) as error:
        if len(places) == 1:
            unreadable.add(first, 1, error.message)
            return [_ZERO]
    half = len(places) // 2
    return [
        *_possible(reader, places[:half], unsent, first, unreadable),
        *_possible(reader, places[half:], unsent, first + half, unreadable),
    ]


def _checked(body: bytes, dirty: Dirty) -> bytes:
    if len(body) != 4096 or zlib.crc32(body) != dirty.checksum:
        raise Damaged("a block of the local log is damaged")
    return body


def _forget(view: Journal, upto: int) -> None:
    """Regions behind are not needed any more, and each is 3 MiB."""
    for index in [index for index in view.map.regions if (index + 1) * REGION <= upto]:
        del view.map.regions[index]
