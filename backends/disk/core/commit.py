"""Commit records: the numbered objects whose sequence *is* the disk.

    log/<seq>      create-if-absent, strictly one after the other

A record says which blocks changed, where their bytes are (in data objects made before it, or
behind the record itself), and what their checksums are. Records form a chain: each holds the hash
of the one before. docs/format.md draws the bytes; all integers are little-endian.

Checksums are CRC-32 as in zlib: in the standard library and fast; the chain hash is SHA-256.
"""

import enum
import hashlib
import struct
import zlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.disk.core.coding import TABLE, Frames, encrypted, frames_of, known, sealed_bytes
from backends.errors import Damaged

if TYPE_CHECKING:
    from backends.disk.core.ciphers import Cipher

MAGIC = b"kedgelog"
VERSION = 1
CODED = 2
"""The version of records whose blocks are compressed or encrypted (see coding.py)."""
HOLE = -1
"""Extent of blocks that read as zeros from now on."""
INLINE = -2
"""Extent of blocks whose bytes lie in the record itself."""
GENESIS = bytes(32)
"""What stands for the hash of the record before the first."""
_HEAD = struct.Struct("<8sHBBIQQ16s16s32sQQIIII")
_OBJECT = struct.Struct("<Q16sQII")
_EXTENT = struct.Struct("<QIiI")


class Kind(enum.IntEnum):
    """What a record is for. A fence begins the records of an owner; a clean record ends them."""

    DATA = 1
    FENCE = 2
    CLEAN = 3


@dataclass(frozen=True)
class ObjectName:
    """A data object: named by who made it, so that no name is ever used twice."""

    epoch: int
    session: bytes
    number: int

    @property
    def key(self) -> str:
        """Below the volume's prefix."""
        return f"data/{self.epoch:016x}-{self.session.hex()}-{self.number:08x}"


@dataclass(frozen=True)
class DataObject:
    """A data object as a record names it: `blocks` blocks, the first at byte `start`."""

    name: ObjectName
    start: int
    blocks: int
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    """Of its frames, when they are coded."""


@dataclass(frozen=True)
class Extent:
    """`count` blocks from `start` on. `source` is an index into the record's objects, HOLE or
    INLINE; `first` is the place of the first block there, counted in blocks."""

    start: int
    count: int
    source: int
    first: int


@dataclass(frozen=True)
class Commit:
    """One record. `upto`: the position in the session's local log that it includes."""

    seq: int
    kind: Kind
    epoch: int
    session: bytes
    put_id: bytes
    previous: bytes
    uuid: str
    node: str
    upto: int = 0
    first_object: int = 1
    """The id of its first object; the others follow. The record itself, unless it is a fence, has
    the id after them: it holds the inline bytes, if any."""
    objects: tuple[DataObject, ...] = ()
    extents: tuple[Extent, ...] = ()
    checksums: "array[int]" = field(default_factory=lambda: array("I"))
    """One per block of every extent that is not a hole, in the order of the extents."""
    inline: bytes = b""
    left_out: int = field(default=0, compare=False)
    """Bytes that are inline but not here: whoever replays records needs what they say, not what
    they hold."""
    coding: int = 0
    """How all blocks of this record are kept, those of its objects too (see coding.py)."""
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    """Of the inline frames, when they are coded."""
    cipher: "Cipher | None" = field(default=None, compare=False, repr=False)
    """What seals the tables of an encrypted record."""

    @property
    def key(self) -> str:
        """Below the volume's prefix."""
        return log_key(self.seq)

    def encode(self) -> bytes:
        """The object's bytes. ValueError: its inline bytes were left out."""
        if self.left_out:
            raise ValueError(f"log record {self.seq} of {self.uuid} is not here as a whole")
        return self.table() + self.inline

    def hash(self) -> bytes:
        """What the next record holds. The inline bytes are covered by their checksums."""
        return hashlib.sha256(self.table()).digest()

    def table(self) -> bytes:
        """Everything but the inline bytes."""
        names = self.uuid.encode() + self.node.encode()
        head = _HEAD.pack(
            *(MAGIC, CODED if self.coding else VERSION, self.kind, self.coding),
            *(len(self.uuid.encode()) << 16 | len(self.node.encode()), self.seq, self.epoch),
            *(self.session, self.put_id, self.previous, self.upto, self.first_object),
            *(len(self.objects), len(self.extents), len(self.checksums)),
            len(self.inline) + self.left_out,
        )
        body = b"".join(
            (
                *(_OBJECT.pack(*_astuple(o.name), o.start, o.blocks) for o in self.objects),
                *(_EXTENT.pack(e.start, e.count, e.source, e.first) for e in self.extents),
                little(self.checksums),
                *(little(o.lengths) for o in self.objects),
                little(self.lengths),
            )
        )
        if self.coding:
            head += struct.pack("<I", len(body) + sealed_bytes(self.coding))
        if self.cipher is not None:
            body = self.cipher.box(self.put_id).seal(TABLE, body, head + names)
        table = head + names + body
        return table + struct.pack("<I", zlib.crc32(table))

    @property
    def inline_blocks(self) -> int:
        """How many blocks it holds itself."""
        if not self.coding:
            return (len(self.inline) + self.left_out) // 4096
        return max((e.first + e.count for e in self.extents if e.source == INLINE), default=0)

    @property
    def inline_start(self) -> int:
        """Where the inline bytes begin in the object."""
        words = len(self.uuid.encode()) + len(self.node.encode())
        tables = _OBJECT.size * len(self.objects) + _EXTENT.size * len(self.extents)
        start = _HEAD.size + words + tables + 4 * len(self.checksums) + 4
        if self.coding:
            frames = len(self.lengths) + sum(len(o.lengths) for o in self.objects)
            start += 4 + 4 * frames + sealed_bytes(self.coding)
        return start

    def frames(self, index: int) -> Frames | None:
        """How the blocks of its object `index` are coded, or, one behind, its own; None: not."""
        if not self.coding:
            return None
        if index == len(self.objects):
            return Frames(self.coding, self.put_id, self.lengths)
        found = self.objects[index]
        return Frames(self.coding, found.name.key.encode(), found.lengths)


def log_key(seq: int) -> str:
    """The key of a record below the volume's prefix."""
    return f"log/{seq:016x}"


def decode(
    body: bytes, *, uuid: str, seq: int, cipher: "Cipher | None" = None, whole: bool = True
) -> Commit:
    """The record in `body`. Damaged unless it is, bit for bit, record `seq` of volume `uuid`;
    only the inline bytes are not covered: each block has a checksum of its own. A disk with a
    cipher has no data that are not sealed. Not `whole`: only the beginning of the object, with
    everything but inline bytes."""
    try:
        commit = _decode(body, cipher, whole)
    except (struct.error, ValueError, IndexError) as error:
        raise Damaged(f"log record {seq} of {uuid} cannot be read: {error}") from error
    if (commit.uuid, commit.seq) != (uuid, seq):
        raise Damaged(f"log record {seq} of {uuid} belongs to {commit.uuid} at {commit.seq}")
    if (
        cipher
        and not commit.cipher
        and (commit.extents or commit.objects or commit.inline or commit.left_out)
    ):
        raise Damaged(f"log record {seq} of {uuid} is not encrypted, unlike its disk")
    return commit


def epoch_of(body: bytes) -> int:
    """The epoch of a record, also of an encrypted one. Damaged when it is none."""
    try:
        return int(_Frame(body).epoch)
    except (struct.error, ValueError) as error:
        raise Damaged(f"a log record cannot be read: {error}") from error


def told(body: bytes) -> int:
    """Of how many bytes at the beginning of its object a record consists, inline bytes apart; as
    far as its first bytes tell: 0 when they are none of a record."""
    if len(body) < _HEAD.size + 4:
        return 0
    _, _, _, coding, words, *_, objects, extents, checksums, _ = _HEAD.unpack_from(body)
    size = objects * _OBJECT.size + extents * _EXTENT.size + 4 * checksums
    if coding:
        size = 4 + int(struct.unpack_from("<I", body, _HEAD.size)[0])
    return int(_HEAD.size + (words >> 16) + (words & 0xFFFF) + size + 4)


class _Frame:
    """What of a record is never encrypted, checked. ValueError, struct.error."""

    def __init__(self, body: bytes, whole: bool = True) -> None:
        magic, version, kind, coding, words, *rest = _HEAD.unpack_from(body)
        if (magic, version) not in ((MAGIC, VERSION), (MAGIC, CODED)) or not known(coding):
            raise ValueError(f"format {magic!r} {version} is not known to this version of kedge")
        if (version == CODED) != bool(coding):
            raise ValueError(f"version {version} has no coding {coding}")
        self.kind, self.coding = Kind(kind), coding
        self.seq, self.epoch, self.session, self.put_id, self.previous = rest[:5]
        self.upto, self.first = rest[5:7]
        self.objects, self.extents, self.checksums, self.inline = rest[7:]
        at = _HEAD.size + (4 if coding else 0)
        uuid_end = at + (words >> 16)
        self.tables_at = uuid_end + (words & 0xFFFF)
        self.uuid = body[at:uuid_end].decode()
        self.node = body[uuid_end : self.tables_at].decode()
        size = self.objects * _OBJECT.size + self.extents * _EXTENT.size + 4 * self.checksums
        if coding:
            (size,) = struct.unpack_from("<I", body, _HEAD.size)
        self.end = self.tables_at + size
        size = len(body) if whole else max(len(body), self.end + 4 + self.inline)
        if size != self.end + 4 + self.inline or len(body) < self.end + 4:
            raise ValueError(f"it has {len(body)} bytes and should have {self.end + 4}, and more")
        if zlib.crc32(body[: self.end]) != struct.unpack_from("<I", body, self.end)[0]:
            raise ValueError("its checksum is wrong")


def _decode(body: bytes, cipher: "Cipher | None", whole: bool) -> Commit:
    frame = _Frame(body, whole)
    tables = body[frame.tables_at : frame.end]
    if encrypted(frame.coding):
        if cipher is None:
            raise ValueError("it is encrypted, and there is no key")
        tables = cipher.box(frame.put_id).open(TABLE, tables, body[: frame.tables_at])
    objects_end = frame.objects * _OBJECT.size
    extents_end = objects_end + frame.extents * _EXTENT.size
    end = extents_end + 4 * frame.checksums
    named = list(_OBJECT.iter_unpack(tables[:objects_end]))
    lengths = words32(tables[end:])
    objects, taken = [], 0
    for epoch, session, number, at, blocks in named:
        count = frames_of(blocks) if frame.coding else 0
        own = lengths[taken : taken + count]
        objects.append(DataObject(ObjectName(epoch, session, number), at, blocks, own))
        taken += count
    commit = Commit(
        seq=frame.seq,
        kind=frame.kind,
        epoch=frame.epoch,
        session=frame.session,
        put_id=frame.put_id,
        previous=frame.previous,
        uuid=frame.uuid,
        node=frame.node,
        upto=frame.upto,
        first_object=frame.first,
        objects=tuple(objects),
        extents=tuple(Extent(*e) for e in _EXTENT.iter_unpack(tables[objects_end:extents_end])),
        checksums=words32(tables[extents_end:end]),
        inline=body[frame.end + 4 :] if whole else b"",
        left_out=0 if whole else frame.inline,
        coding=frame.coding,
        lengths=lengths[taken:],
        cipher=cipher if encrypted(frame.coding) else None,
    )
    framed = len(commit.lengths) == frames_of(commit.inline_blocks)
    if frame.coding and not (framed and sum(commit.lengths) == frame.inline):
        raise ValueError("its frames are not those of its blocks")
    return commit


def _astuple(name: ObjectName) -> tuple[int, bytes, int]:
    return name.epoch, name.session, name.number


def little(words: "array[int]") -> bytes:
    """The words as little-endian bytes, on any machine."""
    if _SWAP:
        words = array(words.typecode, words)
        words.byteswap()
    return words.tobytes()


def words32(body: bytes) -> "array[int]":
    """The little-endian 32-bit words in `body`."""
    return _words("I", body)


def words64(body: bytes) -> "array[int]":
    """The little-endian 64-bit words in `body`."""
    return _words("Q", body)


def _words(kind: str, body: bytes) -> "array[int]":
    found = array(kind, body)
    if _SWAP:
        found.byteswap()
    return found


_SWAP = array("H", [1]).tobytes() != b"\1\0"
