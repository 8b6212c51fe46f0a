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

from backends.errors import Damaged

MAGIC = b"kedgelog"
VERSION = 1
HOLE = -1
"""Extent of blocks that read as zeros from now on."""
INLINE = -2
"""Extent of blocks whose bytes lie in the record itself."""
GENESIS = bytes(32)
"""What stands for the hash of the record before the first."""
_HEAD = struct.Struct("<8sHBxIQQ16s16s32sQQIIII")
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

    @property
    def key(self) -> str:
        """Below the volume's prefix."""
        return log_key(self.seq)

    def encode(self) -> bytes:
        """The object's bytes."""
        return self.table() + self.inline

    def hash(self) -> bytes:
        """What the next record holds. The inline bytes are covered by their checksums."""
        return hashlib.sha256(self.table()).digest()

    def table(self) -> bytes:
        """Everything but the inline bytes."""
        uuid, node = self.uuid.encode(), self.node.encode()
        head = _HEAD.pack(
            *(MAGIC, VERSION, self.kind, len(uuid) << 16 | len(node), self.seq, self.epoch),
            *(self.session, self.put_id, self.previous, self.upto, self.first_object),
            *(len(self.objects), len(self.extents), len(self.checksums), len(self.inline)),
        )
        objects = b"".join(
            _OBJECT.pack(o.name.epoch, o.name.session, o.name.number, o.start, o.blocks)
            for o in self.objects
        )
        extents = b"".join(_EXTENT.pack(e.start, e.count, e.source, e.first) for e in self.extents)
        table = head + uuid + node + objects + extents + little(self.checksums)
        return table + struct.pack("<I", zlib.crc32(table))

    @property
    def inline_start(self) -> int:
        """Where the inline bytes begin in the object."""
        words = len(self.uuid.encode()) + len(self.node.encode())
        tables = _OBJECT.size * len(self.objects) + _EXTENT.size * len(self.extents)
        return _HEAD.size + words + tables + 4 * len(self.checksums) + 4


def log_key(seq: int) -> str:
    """The key of a record below the volume's prefix."""
    return f"log/{seq:016x}"


def decode(body: bytes, *, uuid: str, seq: int) -> Commit:
    """The record in `body`. Damaged unless it is, bit for bit, record `seq` of volume `uuid`;
    only the inline bytes are not covered: each block has a checksum of its own."""
    try:
        commit = _decode(body)
    except (struct.error, ValueError, IndexError) as error:
        raise Damaged(f"log record {seq} of {uuid} cannot be read: {error}") from error
    if (commit.uuid, commit.seq) != (uuid, seq):
        raise Damaged(f"log record {seq} of {uuid} belongs to {commit.uuid} at {commit.seq}")
    return commit


def _decode(body: bytes) -> Commit:
    magic, version, kind, words, seq, epoch, session, put_id, previous, upto, first, *counts = (
        _HEAD.unpack_from(body)
    )
    objects, extents, checksums, inline = counts
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError(f"format {magic!r} {version} is not known to this version of kedge")
    place = _HEAD.size
    uuid_end = place + (words >> 16)
    names_end = uuid_end + (words & 0xFFFF)
    objects_end = names_end + objects * _OBJECT.size
    extents_end = objects_end + extents * _EXTENT.size
    end = extents_end + 4 * checksums
    if len(body) != end + 4 + inline:
        raise ValueError(f"it has {len(body)} bytes and should have {end + 4 + inline}")
    if zlib.crc32(body[:end]) != struct.unpack_from("<I", body, end)[0]:
        raise ValueError("its checksum is wrong")
    named = _OBJECT.iter_unpack(body[names_end:objects_end])
    return Commit(
        seq=seq,
        kind=Kind(kind),
        epoch=epoch,
        session=session,
        put_id=put_id,
        previous=previous,
        uuid=body[place:uuid_end].decode(),
        node=body[uuid_end:names_end].decode(),
        upto=upto,
        first_object=first,
        objects=tuple(DataObject(ObjectName(e, s, n), at, b) for e, s, n, at, b in named),
        extents=tuple(Extent(*e) for e in _EXTENT.iter_unpack(body[objects_end:extents_end])),
        checksums=words32(body[extents_end:end]),
        inline=body[end + 4 :],
    )


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
