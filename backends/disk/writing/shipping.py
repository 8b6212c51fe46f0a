"""From the local log into the store: data objects in parallel, then the record that names them."""

import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future

from backends.disk.core.coding import FRAME
from backends.disk.core.commit import DataObject, Kind, ObjectName
from backends.disk.core.overlay import Changes, Dirty
from backends.disk.core.packing import Plan, plan
from backends.disk.core.segment import Segment, runs
from backends.disk.journal import Content, Journal
from backends.disk.log.locallog import LocalLog
from backends.disk.reading.cache import Cache
from backends.errors import Damaged

_IN_FLIGHT = 3
"""Objects that wait in memory for one that is on its way, at most."""
_READ = 256
"""Blocks that are read from the log at once, at most."""


class Shipper:
    """Ships one disk's changes. One call at a time."""

    def __init__(
        self,
        journal: Journal,
        log: LocalLog,
        cache: Cache,
        pool: Executor | None,
        new_id: Callable[[], bytes],
    ) -> None:
        self._journal = journal
        self._log = log
        self._found = log.seq
        """The last entry that a predecessor can have sent."""
        self._cache = cache
        self._pool = pool
        self._run = int.from_bytes(new_id()[:6], "big") << 16
        self._count = 0
        self.bytes = 0
        """Bytes of blocks shipped, for people."""

    def ship(self, changes: Changes) -> None:
        """Make `changes` part of the history. Returns when that is certain; Fenced, Damaged. A late
        record of a predecessor in this session may hold all of them, and newer ones behind them:
        then they are in the history, and a second time would bring old bytes back."""
        if self._sent(changes.upto):
            return
        packing = plan(changes)
        content = self._content(packing)
        while not self._journal.append(Kind.DATA, content, changes.upto):
            if self._sent(changes.upto):
                return
        self.bytes += 4096 * len(changes.blocks)
        with self._journal.lock:
            found = self._journal.map
            key = found.objects[found.next_object - 1].key
        self._keep(key, content.inline)

    def _sent(self, upto: int) -> bool:
        last = self._journal.tail.last
        if last is None or not self._journal.owner.wrote(last):
            return False
        return upto <= last.upto <= self._found

    def _content(self, packing: Plan) -> Content:
        def read(blocks: Sequence[int]) -> Iterator[bytes]:
            return self._blocks(packing.changes, blocks)

        objects = tuple(self.upload(packing, read, self._keep))
        inline = tuple(read(packing.inline))
        return Content(objects, packing.extents(), packing.checksums(), inline)

    def upload(
        self,
        packing: Plan,
        read: Callable[[Sequence[int]], Iterator[bytes]],
        keep: Callable[[str, Sequence[bytes]], None] = lambda key, blocks: None,
    ) -> Iterator[DataObject]:
        """Make the data objects of a plan from the bytes that `read` has for blocks. `keep` gets
        those of each object: its name is this session's alone, whether a record names it or not."""
        waiting: list[Future[None]] = []
        for part in packing.parts:
            blocks = list(read(part))
            named, body = self._object(packing, part, blocks)
            keep(named.name.key, blocks)
            if self._pool is None:
                self._journal.put(named.name.key, body)
            else:
                waiting.append(self._pool.submit(self._journal.put, named.name.key, body))
                while len(waiting) > _IN_FLIGHT:
                    waiting.pop(0).result()
            yield named
        for one in waiting:
            one.result()

    def _object(
        self, packing: Plan, part: Sequence[int], blocks: Sequence[bytes]
    ) -> tuple[DataObject, bytes]:
        """A data object: as the record names it, and its bytes."""
        coder, name = self._journal.coder, self._name()
        lengths = array("I")
        if coder.number:
            blocks, lengths = coder.encode(name.key.encode(), blocks)
        segment = Segment(
            *(name, self._journal.uuid, tuple(runs(part)), packing.sums(part)),
            *(coder.number, lengths, coder.cipher),
        )
        return DataObject(name, segment.start, len(part), lengths), segment.encode(blocks)

    def _blocks(self, changes: Changes, blocks: Sequence[int]) -> Iterator[bytes]:
        """Bytes from the local log, checked: what is wrong here must never leave this node."""
        found = [changes.blocks[block] for block in blocks]
        for first, count in _together(found):
            body = self._log.read(found[first].position, 4096 * count)
            for place in range(count):
                block = body[place * 4096 : place * 4096 + 4096]
                if zlib.crc32(block) != found[first + place].checksum:
                    raise Damaged(
                        f"block {blocks[first + place]} of disk {self._journal.uuid} is damaged in "
                        "the local log; nothing behind it is shipped"
                    )
                yield block

    def _name(self) -> ObjectName:
        """Also a process that resumes its predecessor's session repeats none of its names."""
        self._count += 1
        owner = self._journal.owner
        return ObjectName(owner.epoch, owner.session, self._run + self._count)

    def _keep(self, key: str, blocks: Sequence[bytes]) -> None:
        """What was just written is likely to be read: put it into the cache."""
        for at in range(0, len(blocks), FRAME):
            self._cache.put(key, at // FRAME, b"".join(blocks[at : at + FRAME]))


def _together(found: Sequence[Dirty]) -> Iterator[tuple[int, int]]:
    """Which of them lie one behind the other in the log: (place of the first, how many)."""
    first = 0
    for place in range(1, len(found) + 1):
        last = place == len(found) or place - first >= _READ
        if last or found[place].position != found[place - 1].position + 4096:
            yield first, place - first
            first = place
