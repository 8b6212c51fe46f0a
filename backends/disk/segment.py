"""Data objects: blocks of several extents, self-describing, so that nothing but the bucket is
needed to find out what they are.

    magic, version, epoch, session, number, counts | uuid | extents | checksums | crc | blocks
"""

import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backends.disk.commit import ObjectName, little, words32
from backends.errors import Damaged

MAGIC = b"kedgedat"
VERSION = 1
_HEAD = struct.Struct("<8sHHIQ16sQII")
_EXTENT = struct.Struct("<QI")


@dataclass(frozen=True)
class Segment:
    """The head of a data object: `extents` are (first block, count), in the order of the bytes."""

    name: ObjectName
    uuid: str
    extents: tuple[tuple[int, int], ...]
    checksums: "array[int]"

    @property
    def start(self) -> int:
        """The byte at which the first block begins."""
        words = len(self.uuid.encode()) + _EXTENT.size * len(self.extents)
        return _HEAD.size + words + 4 * len(self.checksums) + 4

    def encode(self, blocks: Iterable[bytes]) -> bytes:
        """The object's bytes."""
        uuid = self.uuid.encode()
        name = self.name
        table = b"".join(
            (
                _HEAD.pack(
                    *(MAGIC, VERSION, len(uuid), len(self.extents), name.epoch, name.session),
                    *(name.number, len(self.checksums), 0),
                ),
                uuid,
                *(_EXTENT.pack(*extent) for extent in self.extents),
                little(self.checksums),
            )
        )
        return b"".join((table, struct.pack("<I", zlib.crc32(table)), *blocks))


def decode(body: bytes) -> Segment:
    """The head of a data object. Damaged when it is not one or its checksum is wrong."""
    try:
        magic, version, words, extents, epoch, session, number, blocks, _ = _HEAD.unpack_from(body)
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"format {magic!r} {version} is not known to this version of kedge")
        uuid_end = _HEAD.size + words
        extents_end = uuid_end + extents * _EXTENT.size
        end = extents_end + 4 * blocks
        if zlib.crc32(body[:end]) != struct.unpack_from("<I", body, end)[0]:
            raise ValueError("its checksum is wrong")
        return Segment(
            ObjectName(epoch, session, number),
            body[_HEAD.size : uuid_end].decode(),
            tuple((at, count) for at, count in _EXTENT.iter_unpack(body[uuid_end:extents_end])),
            words32(body[extents_end:end]),
        )
    except (struct.error, ValueError) as error:
        raise Damaged(f"a data object cannot be read: {error}") from error


def runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted block numbers as (first, count)."""
    found: list[tuple[int, int]] = []
    for block in blocks:
        if found and found[-1][0] + found[-1][1] == block:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((block, 1))
    return found
