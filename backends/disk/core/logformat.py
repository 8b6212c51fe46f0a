"""The local log's bytes: what was written and not yet known to be in the store.

A log is a row of segment files of one size. Positions count on through all of them and never
repeat, so a recycled file is told from what it held before. An entry is appended whole:

    head | one checksum per block | the blocks

Reading stops at the first entry that is not whole, not valid or not the next: what a power cut
tore was never acknowledged as flushed. If an entry *behind* says that the bad one had been synced
before it, then this is no torn end but damage, and is said so.

An entry is valid at one place of one segment file only: its first bytes are its segment's own, and
its checksum begins with the segment's own number and the place. Both come from the log's random
name, which nobody knows but this node: neither what was left by an earlier life of the file or of
the log nor what a tenant has written as data can be taken for an entry. Version 1 had neither.
"""

import enum
import hashlib
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from backends.disk.core.commit import little, words32
from backends.disk.core.pages import STEP, Pages
from backends.errors import Damaged

SEGMENT_MAGIC = b"kedgeseg"
VERSION = 2
HEADER = 4096
"""Bytes before the first entry of a segment."""
_ENTRY = struct.Struct("<IIQQQQIIB3x")
_SEGMENT = struct.Struct("<8sHHQQQQ")
_SALTED = _SEGMENT.size + 4
"""Where the salt of a segment stands: behind what version 1 has, which stays readable as such, so
that a server of version 1 says what is wrong and removes nothing."""
SALT = 16
_KEYS = struct.Struct("<II")


class Kind(enum.IntEnum):
    """What an entry does to its range."""

    WRITE = 1
    DISCARD = 2


_WRITE = int(Kind.WRITE)
_KINDS = {int(kind): kind for kind in Kind}


_NONE = array("I")


class Entry(NamedTuple):
    """One write or discard. `position` is that of its first byte of data, `end` that after it. A
    server that takes over reads up to sixteen thousand before it answers: they are made cheaply."""

    seq: int
    kind: Kind
    offset: int
    length: int
    unique: int
    connection: int
    synced: int
    """Entries up to this one were known to be synced when this one was written."""
    checksums: "array[int]" = _NONE
    position: int = 0
    end: int = 0


def checksums(data: bytes | memoryview) -> "array[int]":
    """The checksum of each block of `data`."""
    view = memoryview(data)
    return array("I", [zlib.crc32(view[at : at + 4096]) for at in range(0, len(view), 4096)])


class Seal(NamedTuple):
    """What the entries of one segment begin with, and with what their checksums begin."""

    mark: int = 0x4B456E74
    key: int = 0
    places: int = 0
    """Which bits of an entry's place in the file count; none in version 1."""


_OLD = Seal()


def encode(entry: Entry, seal: Seal, place: int) -> bytes:
    """Everything of an entry that stands before its data. `place`: where in its file."""
    sums = little(entry.checksums)
    body = _ENTRY.pack(
        *(seal.mark, 0, entry.seq, entry.synced, entry.offset, entry.unique),
        *(entry.connection, entry.length, entry.kind),
    )
    crc = zlib.crc32(sums, zlib.crc32(body[8:], seal.key ^ place & seal.places))
    return body[:4] + struct.pack("<I", crc) + body[8:] + sums


def overhead(blocks: int) -> int:
    """Bytes of an entry besides its data."""
    return _ENTRY.size + 4 * blocks


@dataclass(frozen=True)
class SegmentHead:
    """The first bytes of a segment: which one it is, and with which entry it begins."""

    number: int
    first: int
    synced: int
    identity: int
    """A checksum of the disk's uuid and of the log's own random name."""
    salt: bytes = b""
    """16 bytes of this log and of the life in which the segment was begun; none in version 1."""

    @property
    def version(self) -> int:
        """Of this segment and of all entries in it."""
        return 2 if self.salt else 1

    @property
    def seal(self) -> Seal:
        """That of its entries."""
        if not self.salt:
            return _OLD
        digest = hashlib.sha256(self.salt + self.number.to_bytes(8, "little")).digest()
        mark, key = _KEYS.unpack_from(digest)
        return Seal(mark | 1, key, 0xFFFFFFFF)

    def encode(self) -> bytes:
        """HEADER bytes."""
        body = _SEGMENT.pack(
            *(SEGMENT_MAGIC, self.version, 0),
            *(self.number, self.first, self.synced, self.identity),
        )
        salt = self.salt + _sum(body + self.salt) if self.salt else b""
        return (body + _sum(body) + salt).ljust(HEADER, b"\0")

    @classmethod
    def decode(cls, body: bytes) -> "SegmentHead | None":
        """None when it was never written whole."""
        if len(body) < HEADER:
            return None
        magic, version, _, number, first, synced, identity = _SEGMENT.unpack_from(body)
        if magic != SEGMENT_MAGIC or body[_SEGMENT.size : _SALTED] != _sum(body[: _SEGMENT.size]):
            return None
        if not 1 <= version <= VERSION:
            raise Damaged("the local log was written by a newer version of kedge; upgrade")
        if version == 1:
            return cls(number, first, synced, identity)
        salt, told = body[_SALTED : _SALTED + SALT], body[_SALTED + SALT : _SALTED + SALT + 4]
        if told != _sum(body[: _SEGMENT.size] + salt):
            return None
        return cls(number, first, synced, identity, salt)


def _sum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little")


@dataclass
class Scan:
    """Reads the entries of one segment in order. After it has run, `witnessed` tells up to which
    entry those behind the last good one say that everything had been synced."""

    body: bytes | Pages
    base: int
    """The position of the segment's first byte."""
    expected: int
    seal: Seal
    shipped: int = 0
    """The data of entries up to this one are in the store, and are not looked at here."""
    end: int = HEADER
    witnessed: int = 0

    def entries(self) -> Iterator[Entry]:
        """Valid entries from `expected` on."""
        place, good = HEADER, True
        while (found := _decode(self.body, place, self.seal, self.shipped, self.base)) is not None:
            entry, size, whole = found
            place += size
            if good and entry.seq == self.expected and whole:
                self.end, self.expected = place, self.expected + 1
                yield entry
                continue
            good = False
            self._witness(entry, whole)
        if self.seal.places:
            self.search(place)

    def _witness(self, entry: Entry, whole: bool) -> None:
        if entry.seq > self.expected and whole:
            self.witnessed = max(self.witnessed, entry.synced)

    def search(self, place: int) -> None:
        """Look behind what cannot be read for entries of this segment: only there is an entry
        valid, so that whatever is found was written as one."""
        mark = self.seal.mark.to_bytes(4, "little")
        while len(piece := self.body[place : place + STEP]) >= _ENTRY.size:
            at = piece.find(mark)
            if at < 0:
                place += len(piece) - len(mark) + 1
                continue
            place += at
            found = _decode(self.body, place, self.seal, self.shipped, self.base)
            if found is not None:
                self._witness(found[0], found[2])
            place += found[1] if found else 1


def _decode(
    body: bytes | Pages, place: int, seal: Seal, shipped: int, base: int = 0
) -> tuple[Entry, int, bool] | None:
    """The entry at `place`, its size, and whether its data are right, or wanted no more; None if
    none is there. `base`: the position of the first byte of `body`."""
    head = body[place : place + _ENTRY.size]
    if len(head) < _ENTRY.size:
        return None
    magic, crc, seq, synced, offset, unique, connection, length, kind = _ENTRY.unpack(head)
    if magic != seal.mark or kind not in _KINDS:
        return None
    blocks = length // 4096 if kind == _WRITE else 0
    start = place + _ENTRY.size + 4 * blocks
    end = start + 4096 * blocks
    if end > len(body):
        return None
    sums = body[place + _ENTRY.size : start]
    if zlib.crc32(sums, zlib.crc32(memoryview(head)[8:], seal.key ^ place & seal.places)) != crc:
        return None
    sums32 = words32(sums)
    whole = seq <= shipped or sums32 == checksums(body[start:end])
    data = base + end - (length if blocks else 0)
    entry = Entry(
        *(seq, _KINDS[kind], offset, length, unique, connection, synced, sums32),
        *(data, base + end),
    )
    return entry, end - place, whole
