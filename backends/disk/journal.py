"""The store's side of a disk: the map, the end of the history, and how both go on.

Everything here happens in the caller's thread, one call at a time; `lock` is held only while map
and tail change, so that readers may look at them meanwhile.
"""

import functools
import re
import threading
from array import array
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from backends.disk.core import checkpoint, commit
from backends.disk.core.blockmap import BlockMap
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.coding import PLAIN, Coder
from backends.disk.core.commit import Commit, DataObject, Extent, Kind
from backends.disk.core.head import Head
from backends.disk.core.history import Held, Owner, Tail
from backends.disk.core.liveness import Litter
from backends.disk.core.naming import located, made_at, maker, prefix_of, seq_of
from backends.disk.core.tenure import Tenure
from backends.disk.reading.early import Early
from backends.disk.reading.upcoming import Upcoming
from backends.errors import Damaged, Fenced, NotFound, Unavailable
from backends.stores.base import Store
from backends.stores.settled import create

T = TypeVar("T")
_REFETCH = 3
_NUMBER = re.compile("[0-9a-f]{16}")
BEGINNING = 64 << 10
"""Bytes of a record that are asked for at first: few records say more. What they hold is up to
1 MiB, and nobody who replays them needs it."""


@dataclass(frozen=True)
class Content:
    """What a data record will say."""

    objects: tuple[DataObject, ...] = ()
    extents: tuple[Extent, ...] = ()
    checksums: "array[int] | None" = None
    inline: tuple[bytes, ...] = ()
    """Blocks that the record holds itself."""


class Journal:
    """One disk, as one owner sees it. `wait(n)` is called before the n-th repetition of what the
    store could not answer; it sleeps, or raises to give up."""

    def __init__(
        self,
        store: Store,
        head: Head,
        owner: Owner,
        *,
        new_id: Callable[[], bytes],
        wait: Callable[[int], None],
        coder: Coder = PLAIN,
        pool: Executor | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        self.uuid = head.uuid
        self.owner = owner
        self.tenure = tenure or Tenure()
        self.tail = Tail()
        self.map = BlockMap(head.size // 4096)
        self.regions: dict[int, str] = {}
        self.manifest = ""
        """Key of the checkpoint that the head names."""
        self.litter: set[Litter] = set()
        """Parts of earlier checkpoints that may still be there."""
        self.trouble = ""
        """Why the store cannot be asked, while something waits for it."""
        self.lock = threading.RLock()
        self.checkpointed = 0
        """The record that the last checkpoint of this disk ends with."""
        self.fence_seq = 0
        """The record from which on this owner writes alone."""
        self.prefix = prefix_of(head.uuid)
        self.base = head.base
        """The disk whose objects this one still uses."""
        self.coder = coder
        self.early: Early | None = None
        self._pool = pool
        self._store = store
        self._new_id = new_id
        self._wait = wait

    def load(self, head: Head) -> None:
        """Begin with the head's checkpoint; regions follow when they are touched."""
        if not head.checkpoint:
            return
        manifest = self.manifest_of(head.checkpoint)
        self.tail = manifest.tail
        self.checkpointed = manifest.tail.seq
        self.map.objects = dict(manifest.objects)
        self.map.next_object = manifest.next_object
        self.regions = dict(manifest.regions)
        self.litter = set(manifest.litter)
        self.manifest = head.checkpoint
        self.map.absent = set(manifest.regions)

    def fetch_early(self, pool: Executor) -> None:
        """Fetch regions before they are touched, until `early.end()`."""
        keys = [self.regions[index] for index in sorted(self.map.absent)]
        self.early = Early(lambda key: self._store.get(located(self.prefix, key)), pool, keys)

    def manifest_of(self, key: str) -> Manifest:
        """A checkpoint of this disk. Damaged when it is not there."""
        return self.checked(
            key, lambda body: checkpoint.decode_manifest(body, uuid=self.uuid, seq=seq_of(key))
        )

    def become(self, past: Manifest) -> None:
        """Make the map that of an earlier checkpoint, as if the last record had done it. Nobody's
        local log follows this: what was not shipped before is no part of the past."""
        seq, objects = self.tail.seq, {}
        for number, found in self.map.objects.items():
            objects[number] = replace(found, live=0, died=found.died or seq)
        for number, found in past.objects.items():
            if found.live:
                objects[number] = replace(found, died=0)
        kept = set(past.regions.values())
        gone = set(self.regions.values()) - kept
        self.litter = {part for part in self.litter if part.key not in kept}
        self.litter |= {Litter(key, made_at(key), seq) for key in gone}
        self.map.objects, self.map.regions, self.map.dirty = objects, {}, set()
        self.regions, self.map.absent = dict(past.regions), set(past.regions)
        owner = self.owner
        self.tail = replace(self.tail, holders=(Held(owner.epoch, owner.session, "", 0),))

    def replay(self, until: int | None = None) -> None:
        """Take over every record up to the first free slot, or to the first of an epoch above
        `until`. Damaged when there are records behind a free slot: they were made after one that
        must have stood there."""
        there = self._there() if self._pool else frozenset()
        upcoming = Upcoming(self._beginning, self._pool, there)
        while True:
            seq = self.tail.seq + 1
            try:
                body = upcoming.get(seq) or self._record(seq)
            except NotFound:
                if not self._beyond(seq):
                    return
                continue
            record = self._decoded(body, seq)
            if until is not None and record.epoch > until:
                return
            self._take(record)

    def _there(self) -> frozenset[int]:
        """The records behind the tail, as a listing shows them: only a hint, for those that are to
        be fetched early."""
        log = f"{self.prefix}log/"
        after = self.prefix + commit.log_key(self.tail.seq)
        with suppress(Unavailable, ValueError):
            listed = self._store.list(log, after=after)
            return frozenset(int(one.key.removeprefix(log), 16) for one in listed)
        return frozenset()

    def behind(self) -> tuple[int, ...]:
        """Which records are there behind the tail, whatever they say."""
        log = f"{self.prefix}log/"
        after = self.prefix + commit.log_key(self.tail.seq)
        listed = self.patiently(lambda: self._store.list(log, after=after))
        numbers = (one.key.removeprefix(log) for one in listed)
        return tuple(int(number, 16) for number in numbers if _NUMBER.fullmatch(number))

    def _beyond(self, seq: int) -> bool:
        """Whether somebody has just filled the free slot. Damaged when somebody went past it."""
        log = f"{self.prefix}log/"
        behind = self.patiently(
            lambda: self._store.list(log, after=self.prefix + commit.log_key(seq))
        )
        if not behind:
            return False
        try:
            self._record(seq)
        except NotFound:
            raise Damaged(
                f"disk {self.uuid} lacks log record {seq}, but later ones are there: restore "
                f"{self.prefix}{commit.log_key(seq)} from a copy or an older version of the bucket"
            ) from None
        return True

    def fence(self, upto: Callable[[Tail], int]) -> None:
        """Make the record that ends everybody else's writing, behind whatever they have written
        until then. `upto(tail)`: what of our own local log is in the history. Fenced when a later
        owner was faster."""
        while True:
            own = self._next(Kind.FENCE, Content(), upto(self.tail))
            if self._create(own):
                self.fence_seq = own.seq
                return
            if self.tail.last and self.owner.epoch == self.tail.last.epoch:
                self.fence_seq = self.tail.seq
                return

    def append(self, kind: Kind, content: Content, upto: int) -> bool:
        """Make the next record. False when a late record of this very session took the slot, of
        a process that died: it is taken over, and the caller looks again at what is left to
        write. Fenced when a later owner took it."""
        return self._create(self._next(kind, content, upto))

    def put(self, key: str, body: bytes) -> None:
        """Make or replace an object whose name only this session uses."""
        self.patiently(lambda: self._store.put(self.prefix + key, body))

    def put_sealed(self, key: str, body: bytes) -> None:
        """The same, for what `checked` reads: encrypted if the disk is."""
        self.put(key, self.coder.seal(located(self.prefix, key), body))

    def load_regions(self, start: int, count: int) -> None:
        """Have the regions of these blocks in memory."""
        with self.lock:
            wanted = self.map.missing(start, count)
        for index in wanted:
            self._load_region(index)

    def _load_regions_of(self, record: Commit) -> None:
        """The same for all blocks of a record, side by side: a new owner may need many."""
        with self.lock:
            wanted = {i for e in record.extents for i in self.map.missing(e.start, e.count)}
        if self._pool is None or len(wanted) < 2:
            for index in wanted:
                self._load_region(index)
        else:
            list(self._pool.map(self._load_region, wanted))

    def _load_region(self, index: int) -> None:
        key = self.regions[index]
        uuid = maker(self.uuid, key)
        decode = functools.partial(
            checkpoint.decode_region, uuid=uuid, index=index, seq=seq_of(key)
        )
        region = self._early(key, decode) or self.checked(key, decode)
        with self.lock:
            if index in self.map.absent:
                self.map.load(index, region)

    def _early(self, key: str, decode: Callable[[bytes], T]) -> T | None:
        """What came before it was asked for, if it is right."""
        body = self.early.take(key) if self.early else None
        if body is not None:
            with suppress(Damaged):
                return decode(self.coder.open(located(self.prefix, key), body))
        return None

    def _next(self, kind: Kind, content: Content, upto: int) -> Commit:
        """The next record. Its put-id is new, and so is the name that its blocks are sealed
        under; a record that holds none has nothing to hide."""
        put_id, coder = self._new_id(), self.coder
        coding = coder.number if content.extents else 0
        frames, lengths = (
            coder.encode(put_id, content.inline) if coding else (content.inline, array("I"))
        )
        return Commit(
            seq=self.tail.seq + 1,
            kind=kind,
            epoch=self.owner.epoch,
            session=self.owner.session,
            put_id=put_id,
            previous=self.tail.hash,
            uuid=self.uuid,
            node=self.owner.node,
            upto=upto,
            first_object=self.map.next_object,
            objects=content.objects,
            extents=content.extents,
            checksums=content.checksums if content.checksums is not None else array("I"),
            inline=b"".join(frames),
            coding=coding,
            lengths=lengths,
            cipher=coder.cipher if coding else None,
        )

    def _create(self, own: Commit) -> bool:
        """Make a record, and take it over. False when another one stands there: that one is."""
        body, began = own.encode(), self.tenure.moment()
        taken = self.patiently(lambda: create(self._store, self.prefix + own.key, body))
        found = own if taken is None else self._decoded(taken.body, own.seq)
        self._take(found)
        if found.put_id != own.put_id:
            return False
        self.tenure.prove(began)
        return True

    def _decoded(self, body: bytes, seq: int) -> Commit:
        """The record; read again when the bytes were spoiled on their way."""
        for _ in range(_REFETCH):
            try:
                return self._decode(body, seq)
            except Damaged:
                self._store.renew()
                body = self._record(seq)
        return self._decode(body, seq)

    def _decode(self, body: bytes, seq: int) -> Commit:
        return commit.decode(body, uuid=self.uuid, seq=seq, cipher=self.coder.cipher, whole=False)

    def _take(self, record: Commit) -> None:
        """Make a record part of the map. Fenced when it is that of a later owner."""
        if record.epoch > self.owner.epoch:
            raise Fenced(
                f"disk {self.uuid} is written by node {record.node} under epoch {record.epoch}; "
                f"epoch {self.owner.epoch} is over"
            )
        tail = self.tail.after(record)
        if self.map.absent:  # none appears by itself
            self._load_regions_of(record)
        with self.lock:
            self.map.apply(record)
            self.tail = tail

    def _record(self, seq: int) -> bytes:
        return self.patiently(lambda: self._beginning(seq))

    def _beginning(self, seq: int) -> bytes:
        """What a record says. NotFound, Unavailable."""
        body = self._store.get_range(self._log(seq), 0, BEGINNING)
        return self._store.get(self._log(seq)) if commit.told(body) > len(body) else body

    def _log(self, seq: int) -> str:
        return self.prefix + commit.log_key(seq)

    def checked(self, key: str, decode: Callable[[bytes], T]) -> T:
        """An object that must be there and right."""
        for _ in range(_REFETCH):
            try:
                return decode(self._opened(key))
            except Damaged:
                self._store.renew()
        return decode(self._opened(key))

    def checked_part(self, key: str, length: int, decode: Callable[[bytes], T]) -> T:
        """The beginning of an object that must be there and right."""
        full = located(self.prefix, key)
        for _ in range(_REFETCH):
            with suppress(Damaged):
                return decode(self.patiently(lambda: self._store.get_range(full, 0, length)))
            self._store.renew()
        return decode(self.patiently(lambda: self._store.get_range(full, 0, length)))

    def record(self, seq: int) -> Commit:
        """A record that is in the store. NotFound."""
        return self._decoded(self._record(seq), seq)

    def _opened(self, key: str) -> bytes:
        return self.coder.open(located(self.prefix, key), self._fetch(key))

    def _fetch(self, key: str) -> bytes:
        try:
            return self.patiently(lambda: self._store.get(located(self.prefix, key)))
        except NotFound as error:
            raise Damaged(f"disk {self.uuid} lacks its object {key}") from error

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, repeating it while the store cannot be asked."""
        count = 0
        while True:
            try:
                answer = attempt()
            except Unavailable as error:
                count, self.trouble = count + 1, error.message
                self._wait(count)
            else:
                if count:
                    self.trouble = ""
                return answer
