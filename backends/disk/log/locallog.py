"""The local log: entries in, entries out again after a crash, space back when they are shipped.

Whoever uses it keeps one lock around `append`, `begin_sync`, `end_sync` and `release`; only the
sync itself and reading go on beside them. After any failure to write or sync nothing may be
believed any more: the log stays failed until it is opened anew.
"""

import hashlib
import json
import re
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol

from backends.disk.core import logformat
from backends.disk.core.logformat import HEADER, Entry, Kind, Scan, Seal, SegmentHead
from backends.disk.core.pages import Pages
from backends.errors import Damaged, HostError

LEAST = 3
"""Files with which a log makes progress, however slowly: two stay, and one is written."""
_NAME = re.compile(r"segment-([0-9a-f]{16})")
_SPARE = re.compile(r"spare-[0-9a-f]{4}")
_BINDING = "binding.json"
_SENT = "sent"
_FAILED = "failed"
"""A file that is there when a write or sync of this log has failed."""
_PIECE = 1 << 20
_MARK = struct.Struct("<QI")
"""Of that file: the last entry that is in the store, and the log's identity; a checksum follows."""


class Full(HostError):
    """There is no space for another file."""


class Files(Protocol):
    """See LogFiles."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def allocate(self, name: str, size: int) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def write(self, name: str, offset: int, parts: Sequence[bytes | memoryview]) -> None: ...
    def zero(self, name: str, offset: int, length: int) -> None: ...
    def pread(self, name: str, offset: int, length: int) -> bytes: ...
    def sync(self, names: Sequence[str], *, directory: bool = False) -> None: ...
    def put(self, name: str, content: bytes) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Binding:
    """Whose log this is: used only while the disk's history agrees."""

    uuid: str
    log: str
    """A random name of this log."""
    epoch: int
    session: str
    node: str
    boot: str
    """Since the machine last booted, everything written is readable, synced or not."""
    segment: int
    """Bytes of a segment file."""

    @property
    def identity(self) -> int:
        """What its segments carry."""
        return zlib.crc32(f"{self.uuid} {self.log}".encode())

    @property
    def salt(self) -> bytes:
        """What the segments carry that are begun in this life of the log: nobody can guess it who
        does not know the log's name, and after a power cut it is another one."""
        life = f"{self.uuid} {self.log} {self.epoch} {self.session} {self.boot}"
        return hashlib.sha256(life.encode()).digest()[: logformat.SALT]


@dataclass
class _Segment:
    number: int
    first: int
    last: int
    seal: Seal
    end: int = HEADER
    name: str = ""

    def __post_init__(self) -> None:
        self.name = _name(self.number)


class LocalLog:
    """A log whose entries from `start` on are kept. Made by `open_log` or `new_log`."""

    def __init__(self, files: Files, binding: Binding, segments: int) -> None:
        """`segments`: how many files there may be."""
        self.binding = binding
        self.seq = 0
        """The last entry appended."""
        self.synced = 0
        self.failed = ""
        self._files = files
        self._limit = segments
        self._segments: list[_Segment] = []
        self._spare: list[str] = []
        self._unsynced: set[str] = set()
        self._renamed = False

    @property
    def capacity(self) -> int:
        """Bytes of the largest write that one entry can hold."""
        return (self.binding.segment - HEADER) // 2

    def reserve(self) -> None:
        """Have the files without which the log could not go on; HostError if there is no space.
        What comes beyond them is used if there is space for it when it is needed."""
        while len(self._segments) + len(self._spare) < min(LEAST, self._limit):
            self._allocate()

    def room(self, length: int) -> bool:
        """Whether an entry with so many bytes of data can be appended now. A file system that is
        full, by whomever, is a log that is full: it has room again when something was shipped."""
        size = logformat.overhead(length // 4096) + length
        if self._segments and self._segments[-1].end + size <= self.binding.segment:
            return True
        if not self._spare and len(self._segments) < self._limit:
            with suppress(Full):
                self._allocate()
        return bool(self._spare)

    def append(
        self, kind: Kind, offset: int, data: bytes | memoryview | int, unique: int, connection: int
    ) -> Entry:
        """Write one entry, not synced. `data` of a discard is its length. Call when `room`."""
        self.check()
        body = b"" if isinstance(data, int) else data
        length = data if isinstance(data, int) else len(data)
        sums = logformat.checksums(body) if len(body) else array("I")
        size = logformat.overhead(len(sums)) + len(body)
        try:
            segment = self._segment_for(size)
            end = segment.number * self.binding.segment + segment.end + size
            entry = Entry(
                *(self.seq + 1, kind, offset, length, unique, connection, self.synced, sums),
                *(end - len(body), end),
            )
            head = logformat.encode(entry, segment.seal, segment.end)
            self._files.write(segment.name, segment.end, [head, body] if len(body) else [head])
        except HostError as error:
            self._fail(error.message)
            raise
        self.seq = segment.last = entry.seq
        segment.end += size
        self._unsynced.add(segment.name)
        return entry

    def begin_sync(self) -> tuple[int, list[str], bool]:
        """What a sync that starts now will cover: hand it to `sync`, then to `end_sync`."""
        self.check()
        work = (self.seq, sorted(self._unsynced), self._renamed)
        self._unsynced, self._renamed = set(), False
        return work

    def sync(self, work: tuple[int, list[str], bool]) -> None:
        """Put the bytes on stable storage. Needs no lock."""
        try:
            self._files.sync(work[1], directory=work[2])
        except BaseException as error:  # the next sync knows nothing of these files any more
            self._fail(error.message if isinstance(error, HostError) else repr(error))
            raise

    def end_sync(self, work: tuple[int, list[str], bool]) -> None:
        """Believe in a sync that has returned."""
        self.check()
        self.synced = max(self.synced, work[0])

    def read(self, position: int, length: int) -> bytes:
        """Bytes of an entry. What was released meanwhile reads as anything: check the sums."""
        number, offset = divmod(position, self.binding.segment)
        try:
            return self._files.pread(_name(number), offset, length)
        except HostError:
            return b""

    def release(self, upto: int) -> None:
        """Entries up to `upto` are in the store: segments that hold nothing else may be used
        again. The last two stay, for requests that come a second time."""
        self._note_sent(upto)
        while len(self._segments) > 2 and self._segments[0].last <= upto:
            self._spare.append(_name(self._segments.pop(0).number))

    def clear(self) -> None:
        """Everything ever appended is in the store, and nothing will follow: keep nothing of it.
        A node that finds entries later takes them for what was not sent."""
        for name in self._files.names():
            if name != _BINDING:
                self._files.remove(name)
        self._segments, self._spare = [], []

    def rebind(self, binding: Binding) -> None:
        """Give the log to another epoch or session of the same node, durably."""
        self._files.put(_BINDING, json.dumps(asdict(binding)).encode())
        self.binding = binding

    def check(self) -> None:
        """HostError if the log has failed."""
        if self.failed:
            raise HostError(f"{self.failed}; nothing is acknowledged any more")

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _fail(self, why: str) -> None:
        """From now on nothing is believed; also those who find this log are told, if that can
        still be written."""
        self.failed = why
        with suppress(HostError):
            self._files.allocate(_FAILED, 1)

    def _segment_for(self, size: int) -> _Segment:
        last = self._segments[-1] if self._segments else None
        if last and last.end + size <= self.binding.segment:
            return last
        if size + HEADER > self.binding.segment:
            raise HostError(f"an entry of {size} bytes does not fit the log's segments")
        head = self._head(last.number + 1 if last else self.seq + 1)
        new = _Segment(head.number, head.first, self.seq, head.seal)
        name = new.name
        if not self._spare:
            self._allocate()
        self._files.rename(self._spare.pop(0), name)
        self._files.write(name, 0, [head.encode()])
        self._unsynced.add(name)
        self._renamed = True
        self._segments.append(new)
        return new

    def _head(self, number: int) -> SegmentHead:
        """That of a segment which begins with the next entry."""
        binding = self.binding
        return SegmentHead(number, self.seq + 1, self.synced, binding.identity, binding.salt)

    def _allocate(self) -> None:
        names = {f"spare-{number:04x}" for number in range(self._limit + 1)}
        name = min(names.difference(self._spare, self._files.names()))
        try:
            self._files.allocate(name, self.binding.segment)
        except HostError:
            self._files.remove(name)
            raise
        self._spare.append(name)

    def recover(self, upto: int = 0, *, for_good: bool = True, boot: str = "") -> list[Entry]:
        """Find the entries again, after a crash; those up to `upto` are in the store and may be
        missing: their segment may have been on its way to be used again. Damaged when what had
        been synced is broken. `for_good`: what lies behind the last one never happened, and is
        made unreadable. `boot`: that of now."""
        found: list[Entry] = []
        cut_off: list[str] = []
        failed = for_good and has_failed(self._files)
        # Whether nothing but a process has died.
        alone = for_good and not failed and boot == self.binding.boot
        for name in filter(_SPARE.fullmatch, self._files.names()):
            self._files.remove(name)  # perhaps without all its space
        heads = self._unshipped(upto, alone)
        for segment, entries in self._found(heads, upto, cut_off):
            if self._segments and self._segments[-1].last + 1 != segment.first:
                found, self._segments = [], []
            found += entries
            self._segments.append(segment)
        last = self._segments[-1].last if self._segments else 0
        for name in cut_off:
            self._files.remove(name)
        self.seq = self.synced = last
        self._end_last(for_good, closed=not alone)
        if failed:
            self._write_again()
        self._files.sync([_name(one.number) for one in self._segments], directory=True)
        if failed:
            self._files.remove(_FAILED)
        return found

    def _found(
        self, heads: list[tuple[int, SegmentHead]], upto: int, cut_off: list[str]
    ) -> Iterator[tuple[_Segment, list[Entry]]]:
        """The segments up to the end of the log. What is in the store may be missing: then the
        next one begins anew. Those behind the end are put into `cut_off`; Damaged, when one of
        them, or an entry behind the end, says that it is none."""
        expected = witnessed = 0
        for number, head in heads:
            if head.first != expected or cut_off:
                if cut_off or head.first > upto + 1:
                    witnessed = max(witnessed, head.synced, self._witnessed(number, head.seal))
                    cut_off.append(_name(number))
                    continue
                witnessed = 0
            base = number * self.binding.segment
            scan = Scan(self._pages(number), base, head.first, head.seal, upto)
            entries = list(scan.entries())
            expected = scan.expected
            witnessed = max(witnessed, scan.witnessed)
            yield _Segment(number, head.first, expected - 1, head.seal, scan.end), entries
        last = (expected or 1) - 1
        for number in self._strange():
            seal = SegmentHead(number, 0, 0, 0, self.binding.salt).seal  # if it is of this life
            witnessed = max(witnessed, self._witnessed(number, seal))
            cut_off.append(_name(number))
        if witnessed > max(last, upto):
            raise Damaged(
                f"the local log of disk {self.binding.uuid} is broken behind entry {last}, but "
                f"entries up to {witnessed} had been synced; what is in the store is whole: "
                "detach with force to go on from there"
            )

    def _witnessed(self, number: int, seal: Seal) -> int:
        """Up to which entry those in a segment say that everything had been synced."""
        scan = Scan(self._pages(number), 0, 0, seal)
        if seal.places:
            scan.search(HEADER)
        return scan.witnessed

    def _strange(self) -> list[int]:
        """Segments without a head of this log: it was never written, or is broken."""
        known = {number for number, _ in self._heads()}
        names = filter(None, map(_NAME.fullmatch, self._files.names()))
        return [number for match in names if (number := int(match[1], 16)) not in known]

    def _write_again(self) -> None:
        """A system that has said once that it could not write a page takes it for written: it
        reads right until the power is cut, and the next sync says nothing."""
        for segment in self._segments:
            for at in range(0, self.binding.segment, _PIECE):
                piece = self._files.pread(segment.name, at, min(_PIECE, self.binding.segment - at))
                self._files.write(segment.name, at, [piece])

    def _pages(self, number: int) -> Pages:
        name = _name(number)
        return Pages(lambda at, size: self._files.pread(name, at, size), self.binding.segment)

    def _unshipped(self, upto: int, alone: bool) -> list[tuple[int, SegmentHead]]:
        """The segments that hold more than what is in the store, and the last two, for requests
        that come a second time. The others are to be used again: to read them would take longer
        than all the rest. After a power cut they are not: one of them may have been used again
        already, for entries that never happened, and have got its old name back."""
        heads = self._heads()
        for number, _ in heads[: (count := _shipped(heads, upto))]:
            if alone:
                self._spare.append(_name(number))
            else:
                self._files.remove(_name(number))
        return heads[count:]

    def holds_unsent(self, upto: int = 0) -> bool:
        """Whether `recover` would find an entry that is not in the store, as far as is known here
        and as the caller knows of those up to `upto`, or damage. Changes nothing."""
        upto, heads = max(upto, self._sent()), self._heads()
        try:
            found = self._found(heads[_shipped(heads, upto) :], upto, [])
            return any(segment.last > upto for segment, _ in found)
        except Damaged:
            return True

    def _note_sent(self, upto: int) -> None:
        """Leave word for those who find this log when its process is gone. Never synced: an old
        word, or none, only makes more of the log look unsent."""
        with suppress(HostError):
            if _SENT not in self._files.names():
                self._files.allocate(_SENT, _MARK.size + 4)
            mark = _MARK.pack(upto, self.binding.identity)
            self._files.write(_SENT, 0, [mark + zlib.crc32(mark).to_bytes(4, "little")])

    def _sent(self) -> int:
        """Up to which entry everything is known to be in the store."""
        if _SENT not in self._files.names():
            return 0
        body = self._files.read(_SENT)
        mark = body[: _MARK.size]
        if body[_MARK.size :] != zlib.crc32(mark).to_bytes(4, "little"):
            return 0
        upto, identity = _MARK.unpack(mark)
        return upto if identity == self.binding.identity else 0

    def _end_last(self, for_good: bool, *, closed: bool) -> None:
        """Make all that lies behind the end of the last segment unreadable: whole entries of a
        future that did not happen, after a power cut, to which the next ones could lead right up,
        of whichever server; or the bytes of one that is torn, which may look like anything.
        `closed`: go on in a new segment, as also behind one of an older version. After the death of
        a process alone the log goes on in the same one: a server that dies again and again would
        fill it with segments that hold next to nothing."""
        if not self._segments:
            return
        last = self._segments[-1]
        if for_good and last.end < self.binding.segment:
            self._files.zero(last.name, last.end, self.binding.segment - last.end)
        if closed or not last.seal.places:
            last.end = self.binding.segment

    def _heads(self) -> list[tuple[int, SegmentHead]]:
        heads = []
        for name in self._files.names():
            if not (match := _NAME.fullmatch(name)):
                continue
            number = int(match[1], 16)
            head = SegmentHead.decode(self._files.pread(name, 0, HEADER))
            if head and (head.number, head.identity) == (number, self.binding.identity):
                heads.append((number, head))
        return heads


def new_log(files: Files, binding: Binding, segments: int, *, seq: int = 0) -> LocalLog:
    """An empty log whose entries count on from `seq`; what was in the directory is removed."""
    for name in files.names():
        files.remove(name)
    files.put(_BINDING, json.dumps(asdict(binding)).encode())
    log = LocalLog(files, binding, segments)
    log.seq = log.synced = seq
    return log


def binding_of(files: Files, uuid: str) -> Binding | None:
    """Whose log is there; None if there is none. Damaged when it cannot be told."""
    if _BINDING not in files.names():
        return None
    try:
        binding = Binding(**json.loads(files.read(_BINDING)))
    except (ValueError, TypeError) as error:
        raise Damaged(f"the binding of the local log of {uuid} cannot be read: {error}") from error
    if binding.uuid != uuid:
        raise Damaged(f"the local log kept for disk {uuid} is that of {binding.uuid}")
    return binding


def has_failed(files: Files) -> bool:
    """Whether a write or sync of the log that is there has failed, and nobody has opened it since:
    what its server had sent to the store may be missing here, in this same boot."""
    return _FAILED in files.names()


def _shipped(heads: Sequence[tuple[int, SegmentHead]], upto: int) -> int:
    """How many segments at the beginning hold nothing but entries up to `upto`, but for the last
    two of all."""
    for place in range(len(heads) - 2):
        (number, _), (following, head) = heads[place : place + 2]
        if following != number + 1 or head.first > upto + 1:
            return place
    return max(0, len(heads) - 2)


def _name(number: int) -> str:
    return f"segment-{number:016x}"
