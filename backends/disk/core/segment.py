"""Data objects: blocks of several extents, self-describing, so that nothing but the bucket is
needed to find out what they are.

    magic, version, epoch, session, number, counts | uuid | extents | checksums | crc | blocks
"""

import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.disk.core.coding import TABLE, encrypted, frames_of, known, sealed_bytes
from backends.disk.core.commit import ObjectName, little, words32
from backends.errors import Damaged

if TYPE_CHECKING:
    from backends.disk.core.ciphers import Cipher

MAGIC = b"kedgedat"
VERSION = 1
CODED = 2
"""The version of objects whose blocks are compressed or encrypted (see coding.py)."""
_HEAD = struct.Struct("<8sHHIQ16sQII")
_EXTENT = struct.Struct("<QI")


@dataclass(frozen=True)
class Segment:
    """The head of a data object: `extents` are (first block, count), in the order of the bytes."""

    name: ObjectName
    uuid: str
    extents: tuple[tuple[int, int], ...]
    checksums: "array[int]"
    coding: int = 0
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    """Of its frames, when they are coded."""
    cipher: "Cipher | None" = field(default=None, compare=False, repr=False)

    @property
    def start(self) -> int:
        """The byte at which the first block begins."""
        words = len(self.uuid.encode()) + _EXTENT.size * len(self.extents)
        tables = 4 * (len(self.checksums) + len(self.lengths)) + sealed_bytes(self.coding)
        return _HEAD.size + words + tables + 4

    def encode(self, blocks: Iterable[bytes]) -> bytes:
        """The object's bytes; `blocks` as they are kept: coded, if they are."""
        uuid, name = self.uuid.encode(), self.name
        head = _HEAD.pack(
            *(MAGIC, CODED if self.coding else VERSION, len(uuid), len(self.extents)),
            *(name.epoch, name.session, name.number, len(self.checksums), self.coding),
        )
        tables = b"".join(_EXTENT.pack(*extent) for extent in self.extents)
        tables += little(self.checksums) + little(self.lengths)
        if self.cipher is not None:
            tables = self.cipher.box(name.key.encode()).seal(TABLE, tables, head + uuid)
        body = head + uuid + tables
        return b"".join((body, struct.pack("<I", zlib.crc32(body)), *blocks))


def decode(body: bytes, cipher: "Cipher | None" = None) -> Segment:
    """The head of a data object. Damaged when it is not one or its checksum is wrong."""
    try:
        return _decode(body, cipher)
    except (struct.error, ValueError) as error:
        raise Damaged(f"a data object cannot be read: {error}") from error


def _decode(body: bytes, cipher: "Cipher | None") -> Segment:
    magic, version, words, extents, epoch, session, number, blocks, coding = _HEAD.unpack_from(body)
    right = (magic, version) == (MAGIC, CODED if coding else VERSION)
    if not right or not known(coding):
        raise ValueError(f"format {magic!r} {version} is not known to this version of kedge")
    name = ObjectName(epoch, session, number)
    uuid_end = _HEAD.size + words
    extents_end = extents * _EXTENT.size
    sums_end = extents_end + 4 * blocks
    size = sums_end + (4 * frames_of(blocks) if coding else 0)
    end = uuid_end + size + sealed_bytes(coding)
    if zlib.crc32(body[:end]) != struct.unpack_from("<I", body, end)[0]:
        raise ValueError("its checksum is wrong")
    tables = body[uuid_end:end]
    if encrypted(coding):
        if cipher is None:
            raise ValueError("it is encrypted, and there is no key")
        tables = cipher.box(name.key.encode()).open(TABLE, tables, body[:uuid_end])
    return Segment(
        name,
        body[_HEAD.size : uuid_end].decode(),
        tuple((at, count) for at, count in _EXTENT.iter_unpack(tables[:extents_end])),
        words32(tables[extents_end:sums_end]),
        coding,
        words32(tables[sums_end:]),
        cipher if encrypted(coding) else None,
    )


def runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted block numbers as (first, count)."""
    found: list[tuple[int, int]] = []
    for block in blocks:
        if found and found[-1][0] + found[-1][1] == block:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((block, 1))
    return found
