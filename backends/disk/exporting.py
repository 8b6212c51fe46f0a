"""A disk as one stream of bytes, from the bucket alone."""

import zlib
from collections.abc import Callable
from concurrent.futures import Executor

from backends.disk.blockmap import Stored
from backends.disk.cache import NoCache
from backends.disk.journal import Journal
from backends.disk.overlay import Dirty, Overlay
from backends.disk.reader import Reader
from backends.disk.regions import REGION
from backends.errors import Damaged
from backends.inspection import Progress, Sink
from backends.stores.base import Store

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
) -> int:
    """Write the whole disk; how many bytes. `over`: what lies over it, `unsent` gives those
    blocks. Damaged when a block cannot be read: what was written until then is no disk."""
    reader = Reader(store, view.prefix, NoCache(), wait, view.coder, pool)
    size = view.map.size
    for first in range(0, size, _RUN):
        count = min(_RUN, size - first)
        view.load_regions(first, count)
        places: list[Stored | Dirty | None] = list(view.map.find(first, count))
        for at in range(count if over else 0):
            lies = over.find(first + at) if over else False
            if lies is not False:
                places[at] = lies if isinstance(lies, Dirty) else None
        _write(reader, places, to, unsent)
        progress((first + count) * 4096, size * 4096)
        _forget(view, first + count)
    return size * 4096


def _write(
    reader: Reader,
    places: list[Stored | Dirty | None],
    to: Sink,
    unsent: Callable[[Dirty], bytes],
) -> None:
    stored = iter(reader.read([place for place in places if isinstance(place, Stored)]))
    zero = bytes(4096)
    blocks = []
    for place in places:
        if isinstance(place, Dirty):
            blocks.append(_checked(unsent(place), place))
        else:
            blocks.append(next(stored) if place else zero)
    to.write(b"".join(blocks))


def _checked(body: bytes, dirty: Dirty) -> bytes:
    if len(body) != 4096 or zlib.crc32(body) != dirty.checksum:
        raise Damaged("a block of the local log is damaged")
    return body


def _forget(view: Journal, upto: int) -> None:
    """Regions behind are not needed any more, and each is 3 MiB."""
    for index in [index for index in view.map.regions if (index + 1) * REGION <= upto]:
        del view.map.regions[index]
