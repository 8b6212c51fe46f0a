"""The disk itself: the local log in front, the journal behind, one order between them."""

import enum
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from backends.disk.collection.collecting import Collector
from backends.disk.collection.compaction import Compactor
from backends.disk.collection.sweeping import EVERY, FIRST_AFTER, Sweeper
from backends.disk.core import packing
from backends.disk.core.blockmap import Stored
from backends.disk.core.commit import Kind as RecordKind
from backends.disk.core.exposure import Exposure
from backends.disk.core.head import Head
from backends.disk.core.logformat import Entry, Kind
from backends.disk.core.overlay import Dirty, Overlay
from backends.disk.core.tenure import Tenure
from backends.disk.device import BLOCK
from backends.disk.journal import Content, Journal
from backends.disk.log.locallog import LocalLog
from backends.disk.reading.cache import Cache
from backends.disk.reading.reader import Reader
from backends.disk.writing.checkpointing import Checkpointer, Step
from backends.disk.writing.shipping import Shipper
from backends.errors import Damaged, Fenced, HostError, Invalid, KedgeError, NotFound

_LOOKS = 4
_FEW = 4
CHECKPOINT_EVERY = 64
"""Records between two checkpoints: what a new owner has to read one by one."""
PUT_OFF = 600.0
"""Seconds for which nothing is copied forward for a store that refuses requests; then a little."""


class Durability(enum.Enum):
    """What a flush waits for."""

    LOCAL = "local"
    STORE = "store"


@dataclass(frozen=True)
class Parts:
    """What a disk is made of; see `opening.py`."""

    journal: Journal
    log: LocalLog
    overlay: Overlay
    cache: Cache
    reader: Reader
    shipper: Shipper
    checkpointer: Checkpointer
    collector: Collector
    compactor: Compactor
    sweeper: Sweeper
    exposure: Exposure
    tenure: Tenure
    strained: Callable[[], bool] = lambda: False
    """Whether the store refuses requests because there are too many."""
    replayed: frozenset[int] = frozenset()
    """FUSE requests that the log has already, of a server that died."""
    lost_after: int = 0
    """The record behind which something may be missing that an earlier owner had acknowledged,
    because he did not close the disk and his local log is not here; 0: nothing is."""


class Disk:
    """A BlockDevice. Threads of its own it has none: `worker.py` calls `ship` and `tend`."""

    def __init__(
        self,
        parts: Parts,
        *,
        durability: Durability,
        connection: int,
        clock: Callable[[], float],
    ) -> None:
        self.size = parts.journal.map.size * BLOCK
        self.parts = parts
        self.durability = durability
        self.shipped = parts.overlay.seq
        """The last entry that is in the store (0: it is not known to be)."""
        self.pressed = 0
        """Writers that wait for room: what there is to ship is due at once then."""
        self._connection = connection
        self._clock = clock
        self._replayed = set(parts.replayed)
        self._lock = parts.journal.lock
        self._changed = threading.Condition(self._lock)
        self._synced = threading.Condition(self._lock)
        """Apart from the other: a sync is no news for who ships, and must not wake him."""
        self._shipping = threading.Lock()
        self._syncing = False
        self._broken: KedgeError | None = None
        self._closed = False
        self._sweep_at = clock() + FIRST_AFTER
        self._copied = clock()
        if parts.overlay:
            self.shipped = 0

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """See BlockDevice."""
        first, count = self._blocks(offset, length)
        found = self._read_patiently(first, count)
        with self._breaking():  # now, not before: fetching may have taken any time
            self.parts.tenure.assure(self.parts.checkpointer.confirm)
        return found

    def _read_patiently(self, first: int, count: int) -> bytearray:
        """Fenced, Damaged: whoever misses something looks whether the disk is still ours."""
        try:
            return self._read(first, count)
        except (NotFound, _Moved, Damaged) as error:
            with self._breaking():  # what a fenced owner misses, the next one may have collected
                self.parts.checkpointer.confirm()
            if isinstance(error, Damaged):
                raise
            if isinstance(error, NotFound):
                self.parts.reader.note_damage(error.message)
        raise Damaged(
            f"disk {self.parts.journal.uuid} cannot read {count * BLOCK} bytes at {first * BLOCK}: "
            "an object is gone, or the local log is damaged"
        )

    def _read(self, first: int, count: int) -> bytearray:
        """NotFound, _Moved: something is not where it must be."""
        for _ in range(_LOOKS):
            self.parts.journal.load_regions(first, count)
            with self._lock:
                self._check_owner()
                places = self._look(first, count)
            try:
                return self._fetch(places)
            except (NotFound, _Moved):
                with self._lock:
                    if places == self._look(first, count):
                        raise
        raise _Moved

    def prefetch(self, first: int, count: int) -> "Sequence[Future[object]]":
        """Have blocks in the cache soon; what is on its way. Not for many at a time: everybody
        else waits while they are looked up."""
        self.parts.journal.load_regions(first, count)
        with self._lock:
            self._check_owner()
            places = self._look(first, count)
        return self.parts.reader.prefetch([p for p in places if isinstance(p, Stored)])

    def write(self, offset: int, data: bytes | memoryview, unique: int) -> None:
        """See BlockDevice."""
        self._blocks(offset, len(data))
        step = self.parts.log.capacity // BLOCK * BLOCK
        for at in range(0, len(data), step):
            self._append(Kind.WRITE, offset + at, data[at : at + step], unique)

    def discard(self, offset: int, length: int) -> None:
        """See BlockDevice."""
        self._blocks(offset, length)
        step = 1 << 31
        for at in range(0, length, step):
            self._append(Kind.DISCARD, offset + at, min(step, length - at), 0)

    def flush(self) -> None:
        """See BlockDevice."""
        with self._lock:
            self._check()
            target = self.parts.log.seq
        self._sync(target)
        if self.durability is Durability.STORE:
            while self.shipped < target and self._dirty():
                self.ship()
        elif self._exposed():
            self._ship_exposed()
        with self._lock:
            self._check()

    def _exposed(self) -> bool:
        """Whether something has been on this node alone for longer than a flush may confirm it."""
        with self._lock:
            return self.parts.exposure.too_long(self.parts.overlay.since, self.shipped)

    def _ship_exposed(self) -> None:
        """Until it is no more: a flush waits for the store then, as all do with `store`."""
        with self.parts.exposure.waits.one():
            while self._exposed():
                with self._shipping:
                    with self._lock:
                        self._check()
                    if self._exposed():  # whoever shipped while we waited may have done it
                        self._ship_oldest()

    def close(self) -> None:
        """See BlockDevice. A disk that is fenced or broken only lets go."""
        if self._closed:
            return
        try:
            if self._broken is None:
                self.flush()
                while self.ship():
                    pass
                self.parts.journal.append(RecordKind.CLEAN, Content(), self.parts.log.seq)
                self.checkpoint()
                with suppress(HostError):  # then some room of the node stays taken
                    self.parts.log.clear()
        finally:
            self._closed = True
            with self._lock:
                self._changed.notify_all()
            self.parts.log.close()
            self.parts.cache.close()

    def resize(self, size: int) -> None:
        """Be `size` bytes large from now on. The head must say so already."""
        if size % BLOCK or size < self.size:
            raise Invalid(f"a disk of {self.size} bytes cannot become {size} bytes large")
        with self._lock:
            self._check()
            self.parts.journal.map.size = size // BLOCK
            self.size = size

    @property
    def dirty_since(self) -> float | None:
        """When the oldest write that is not in the store was made; None: all are."""
        with self._lock:
            return self.parts.overlay.since

    def ship(self) -> bool:
        """Put the oldest of what was written into the store, everything unless that is more than
        one record holds; False when there was nothing.

        Fenced, Damaged: from then on the disk is broken. While the store cannot be asked this
        waits, as the journal was told to; writers go on until the log is full."""
        with self._shipping:
            with self._lock:
                self._check()
            return self._ship_oldest()

    def rescue(self) -> None:
        """Put into the store what can still be read of a local log that has failed, oldest first.
        Nothing is acknowledged by that: it is what another node will find. Fenced, Damaged."""
        with self._shipping:
            while isinstance(self._broken, HostError) and not self._closed:
                if not self._ship_oldest():
                    return

    def _ship_oldest(self) -> bool:
        with self._lock:
            if not self.parts.overlay:
                return False
            changes = self.parts.overlay.changes()
        try:
            self.parts.shipper.ship(changes)
        except BaseException as error:
            with self._lock:
                if isinstance(error, Fenced | Damaged):
                    self._broken = error
                self._changed.notify_all()
            raise
        with self._lock:
            self.parts.overlay.shipped(changes)
            self.shipped = changes.upto
            self.parts.log.release(changes.upto)
            self._changed.notify_all()
        return True

    def tend(
        self, *, commits: int = CHECKPOINT_EVERY, hurried: Callable[[], bool] = lambda: False
    ) -> None:
        """Write a checkpoint if one is due, and collect until this is `hurried`."""
        if self.parts.checkpointer.due(commits):
            self.checkpoint()
        with self._shipping, self._breaking():
            self.parts.collector.look()
            self.parts.collector.collect(hurried)
            if self._clock() >= self._sweep_at:
                self.parts.sweeper.sweep(self.parts.collector.pinned)
                self._sweep_at = self._clock() + EVERY

    def compact(self) -> bool:
        """Copy forward what lives in some mostly dead objects; False when there is no need, or the
        store has too much to do already."""
        compactor = self.parts.compactor
        if self.parts.strained() and self._clock() - self._copied < PUT_OFF:
            return False
        self._copied = self._clock()
        with self._breaking():
            numbers = compactor.choose(self.parts.collector.pinned)
            copy = compactor.prepare(numbers) if numbers else None
            if copy is None:
                return False
            with self._shipping:
                return compactor.commit(copy)

    def checkpoint(self, also: Step = lambda head: head) -> Head:
        """Write a checkpoint of what is in the store, and change the head in the same step."""
        with self._shipping, self._breaking():
            head = self.parts.checkpointer.write(also)
            self.parts.collector.doom(head)
            return head

    def settle(self) -> None:
        """Leave little to do for a `pin` for which somebody waits: one record, which holds its
        blocks itself, and a few regions of the map that go side by side."""
        with self._lock:
            much = len(self.parts.overlay) > packing.INLINE_BLOCKS
            much |= len(self.parts.journal.map.dirty) > _FEW
        if much:
            self.pin(lambda head: head)

    def pin(self, also: Step) -> Head:
        """As `checkpoint`, of everything that was written before the call."""
        with self._lock:
            self._check()
            target = self.parts.log.seq
        while self.shipped < target and self._dirty():
            self.ship()
        return self.checkpoint(also)

    def fail(self, error: KedgeError) -> None:
        """Break the disk: nothing is acknowledged any more."""
        with self._lock:
            self._broken = self._broken or error
            self._changed.notify_all()
            self._synced.notify_all()

    def _append(self, kind: Kind, offset: int, data: bytes | memoryview | int, unique: int) -> None:
        length = data if isinstance(data, int) else len(data)
        with self._lock:
            self._check()
            if unique and unique in self._replayed:
                return
            self._wait_for_room(0 if kind is Kind.DISCARD else length)
            entry = self._log(kind, offset, data, unique)
            first = not self.parts.overlay
            self.parts.overlay.take(entry, self._clock())
            if first:
                self._changed.notify_all()

    def _wait_for_room(self, length: int) -> None:
        """Until enough was shipped: a full log makes writers slow, it never makes them fail. One
        wakes the others when it begins to wait, and never again: several would keep each other
        awake for as long as the store is away."""
        if self.parts.log.room(length):
            return
        self.pressed += 1
        self._changed.notify_all()
        try:
            while not self.parts.log.room(length):
                self._changed.wait()
                self._check()
        finally:
            self.pressed -= 1

    def _log(self, kind: Kind, offset: int, data: bytes | memoryview | int, unique: int) -> Entry:
        try:
            return self.parts.log.append(kind, offset, data, unique, self._connection)
        except HostError as error:
            self._broken = error
            raise

    def _sync(self, target: int) -> None:
        """Group commit: one sync at a time, and whoever came while it ran shares the next."""
        log = self.parts.log
        with self._lock:
            while log.synced < target:
                self._check()
                if self._syncing:
                    self._synced.wait()
                    continue
                work = log.begin_sync()
                self._syncing = True
                self._lock.release()
                try:
                    log.sync(work)
                except HostError as error:
                    self._broken = error
                    raise
                finally:
                    self._lock.acquire()
                    self._syncing = False
                    self._synced.notify_all()
                    if self._broken:
                        self._changed.notify_all()
                log.end_sync(work)

    def wait(self, seconds: float) -> None:
        """Wait until something changed: a first write, a failure, the end; at most so long."""
        with self._lock:
            self._changed.wait(seconds)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """What ends all writing ends it here."""
        try:
            yield
        except (Fenced, Damaged) as error:
            self.fail(error)
            raise

    def _dirty(self) -> bool:
        with self._lock:
            return bool(self.parts.overlay)

    def _look(self, first: int, count: int) -> list[Dirty | Stored | None]:
        """Where each block's newest bytes are. Call with the lock held."""
        found: list[Dirty | Stored | None] = list(self.parts.journal.map.find(first, count))
        if self.parts.overlay:
            for place, over in self.parts.overlay.over(first, count):
                found[place] = over
        return found

    def _fetch(self, places: Sequence[Dirty | Stored | None]) -> bytearray:
        body, log = bytearray(BLOCK * len(places)), self.parts.log
        view = memoryview(body)
        wanted = [(at, place) for at, place in enumerate(places) if isinstance(place, Stored)]
        if wanted:
            self.parts.reader.read_into(view, wanted)
        if len(wanted) < len(places):
            for at, place in enumerate(places):
                if isinstance(place, Dirty):
                    block = _checked(log.read(place.position, BLOCK), place.checksum)
                    view[at * BLOCK : (at + 1) * BLOCK] = block
        return body

    def _blocks(self, offset: int, length: int) -> tuple[int, int]:
        if offset % BLOCK or length % BLOCK or not 0 <= offset <= offset + length <= self.size:
            raise Invalid(f"{length} bytes at {offset} are not whole blocks of this disk")
        return offset // BLOCK, length // BLOCK

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._closed:
            raise HostError("the disk is closed")

    def _check_owner(self) -> None:
        if isinstance(self._broken, Fenced) or self._closed:
            self._check()


class _Moved(Exception):
    """The bytes at this place of the local log are no longer those of the block."""


def _checked(body: bytes, checksum: int) -> bytes:
    if len(body) != BLOCK or zlib.crc32(body) != checksum:
        raise _Moved
    return body
