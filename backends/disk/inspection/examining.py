"""Whether one object of a disk is whole, by what it says itself: nothing else is needed for that.

Every object that holds blocks names the checksum of each of them, so it can be looked over alone.
"""

import zlib
from array import array
from dataclasses import dataclass, field

from backends.disk.core import commit, segment
from backends.disk.core.blockmap import StoredObject
from backends.disk.core.coding import FRAME, Coder, frame_blocks, frames_of
from backends.errors import Damaged


@dataclass(frozen=True)
class Examined:
    """What an object says, and which of its blocks are not what it says."""

    checksums: "array[int]" = field(default_factory=lambda: array("I"))
    bad: frozenset[int] = frozenset()
    """Places of blocks."""
    fault: str = ""
    """What is wrong with the object as a whole: then nothing of it can be read."""


def examine(holder: StoredObject, body: bytes, coder: Coder, *, uuid: str) -> Examined:
    """Look over the bytes of an object that the map of disk `uuid` knows as `holder`."""
    try:
        sums = _checksums(holder, body, coder, uuid)
    except Damaged as error:
        return Examined(fault=error.message)
    if len(sums) != holder.blocks:
        return Examined(fault=f"it holds {len(sums)} blocks, and should hold {holder.blocks}")
    bad = set()
    for frame in range(frames_of(holder.blocks)):
        blocks = _frame(holder, frame, body, coder)
        for place in range(frame_blocks(holder.blocks, frame)):
            block = blocks[place * 4096 : place * 4096 + 4096]
            if len(block) < 4096 or zlib.crc32(block) != sums[frame * FRAME + place]:
                bad.add(frame * FRAME + place)
    return Examined(sums, frozenset(bad))


def _checksums(holder: StoredObject, body: bytes, coder: Coder, uuid: str) -> "array[int]":
    """The checksum of each block that the object holds itself."""
    name = holder.key.rpartition("/")[2]
    if "log/" not in holder.key:
        head = segment.decode(body, coder.cipher)
        if not head.name.key.endswith(name) or head.uuid != uuid:
            raise Damaged(f"it is {head.name.key} of disk {head.uuid}")
        return head.checksums
    record = commit.decode(body, uuid=uuid, seq=int(name, 16), cipher=coder.cipher)
    sums, taken = array("I", bytes(4 * record.inline_blocks)), 0
    for extent in record.extents:
        if extent.source == commit.HOLE:
            continue
        if extent.source == commit.INLINE:
            own = record.checksums[taken : taken + extent.count]
            sums[extent.first : extent.first + extent.count] = own
        taken += extent.count
    return sums


def _frame(holder: StoredObject, frame: int, body: bytes, coder: Coder) -> bytes:
    if not holder.frames:
        start = holder.start + frame * FRAME * 4096
        return body[start : start + frame_blocks(holder.blocks, frame) * 4096]
    at, length = holder.frames.span(frame, 1)
    coded = body[holder.start + at : holder.start + at + length]
    try:
        return coder.decode(holder.frames, frame, coded, frame_blocks(holder.blocks, frame))
    except Damaged:
        return b""
