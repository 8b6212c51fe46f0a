"""Rebuilds the image of a disk from its bucket and nothing else, read-only.

Written from docs/format.md and sharing no code with the rest of this package: a second opinion on
the format, and the last resort when nothing else runs.

    python -m backends.disk.inspection.dump DIRECTORY UUID[@SNAPSHOT] IMAGE [KEYFILE]

DIRECTORY holds a copy of the profile's prefix, one file per object (`aws s3 sync`). KEYFILE holds
the 32 bytes of the key that an encrypted disk was made with.
"""

import base64
import hmac
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

Get = Callable[[str], bytes]
_RECORD = struct.Struct("<8sHBBIQQ16s16s32sQQIIII")
_OBJECT = struct.Struct("<Q16sQII")
_EXTENT = struct.Struct("<QIiI")
_REGION = struct.Struct("<8sHHIQII")
_FRAME = 16
_TABLE = (1 << 64) - 1


class Unreadable(Exception):
    """What is in the bucket is not what the format says."""


@dataclass(frozen=True)
class Holder:
    """An object that holds blocks. `lengths`: of its frames, when `coding` is not 0."""

    key: str
    start: int
    blocks: int
    coding: int = 0
    name: bytes = b""
    lengths: tuple[int, ...] = ()


Places = dict[int, tuple[Holder, int, int]]
"""Block -> (object, place in it, CRC-32)."""


@dataclass
class Image:
    """What is known of the disk after some record."""

    uuid: str
    key: bytes | None
    seq: int = 0
    link: bytes = bytes(32)
    next_object: int = 1
    places: Places = field(default_factory=dict)

    def opened(self, name: bytes, place: int, body: bytes, beside: bytes = b"") -> bytes:
        """Decrypt a box."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if self.key is None:
            raise Unreadable(f"disk {self.uuid} is encrypted: its key is needed")
        try:
            cipher = AESGCM(hmac.digest(self.key, name, "sha256"))
            return cipher.decrypt(place.to_bytes(12, "big"), body, beside)
        except InvalidTag as error:
            raise Unreadable(f"something of disk {self.uuid} does not decrypt") from error

    def full(self, key: str) -> str:
        """Objects of the disk that this one was cloned from are named in full."""
        return key if key.startswith("disks/") else f"disks/{self.uuid}/{key}"

    def whole(self, get: Get, key: str) -> bytes:
        """A part of a checkpoint."""
        body, name = get(self.full(key)), self.full(key).encode()
        return self.opened(name, _TABLE, body[8:]) if body[:8] == b"kedgebox" else body


def dump(
    keys: Iterable[str],
    get: Get,
    uuid: str,
    snapshot: str = "",
    wrapping_key: bytes | None = None,
) -> Iterator[tuple[int, bytes]]:
    """Every block of the disk that was written, as (number, bytes), in ascending order; of one of
    its snapshots, if one is named. `keys`: all keys below the prefix. Unreadable when something is
    missing or damaged."""
    try:
        yield from _blocks(list(keys), get, uuid, snapshot, wrapping_key)
    except (KeyError, FileNotFoundError) as error:
        raise Unreadable(f"disk {uuid} lacks something: {error}") from error
    except (struct.error, ValueError, TypeError, IndexError, StopIteration, zlib.error) as error:
        raise Unreadable(f"something of disk {uuid} makes no sense: {error}") from error


def _blocks(
    keys: list[str], get: Get, uuid: str, snapshot: str, wrapping_key: bytes | None
) -> Iterator[tuple[int, bytes]]:
    prefix = f"disks/{uuid}/"
    head = _head(keys, get, uuid)
    image = Image(uuid, _data_key(head, wrapping_key))
    _checkpoint(_manifest(head, snapshot), get, image)
    if not snapshot:
        _log({key for key in keys if key.startswith(f"{prefix}log/")}, get, prefix, image)
    last: tuple[object, int, bytes] = (None, 0, b"")
    for block in sorted(image.places):
        holder, place, crc = image.places[block]
        if last[:2] != (holder, place // _FRAME):
            last = (holder, place // _FRAME, _frame(get, image, holder, place // _FRAME))
        data = last[2][place % _FRAME * 4096 :][:4096]
        if len(data) != 4096 or zlib.crc32(data) != crc:
            raise Unreadable(f"block {block} in {image.full(holder.key)} has a wrong checksum")
        yield block, data


def _log(there: set[str], get: Get, prefix: str, image: Image) -> None:
    """Apply what comes after the checkpoint: every record, or the last ones are not the end."""
    while (key := f"{prefix}log/{image.seq + 1:016x}") in there:
        image.seq += 1
        _apply(get(key), image)
    if behind := [other for other in there if other > key]:
        raise Unreadable(f"{key} is missing, but {min(behind)} is there")


def _head(keys: list[str], get: Get, uuid: str) -> dict[str, Any]:
    slots = f"records/disks/{uuid}/"
    states = sorted(key for key in keys if key.startswith(slots) and key[-16:] != "0" * 16)
    if not states:
        raise Unreadable(f"there is no record {slots}...: the head of the disk")
    line, _, value = get(states[-1]).partition(b"\n")
    text, checksum = line[:-8], line[-8:]
    if b"%08x" % zlib.crc32(value, zlib.crc32(text)) != checksum:
        raise Unreadable(f"{states[-1]} is damaged")
    head: dict[str, Any] = json.loads(value.split(b"\n", 1)[1])
    if head["format"] not in (1, 2) or head["uuid"] != uuid:
        raise Unreadable(f"{states[-1]} is not the head of disk {uuid}")
    return head


def _data_key(head: dict[str, Any], wrapping_key: bytes | None) -> bytes | None:
    """None: the disk is not encrypted, or no key was given."""
    from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

    wrapped = str(head.get("wrapped_key", ""))
    if not wrapped or wrapping_key is None:
        return None
    return aes_key_unwrap(wrapping_key, bytes.fromhex(wrapped))


def _manifest(head: dict[str, Any], snapshot: str) -> str:
    """The checkpoint that the head names, or a snapshot in it; empty when there is none yet."""
    if not snapshot:
        return str(head["checkpoint"])
    if snapshot not in head["pins"]:
        raise Unreadable(f"disk {head['uuid']} has no snapshot {snapshot}")
    return str(head["pins"][snapshot]["manifest"])


def _frame(get: Get, image: Image, holder: Holder, index: int) -> bytes:
    """The bytes of up to 16 blocks."""
    body = get(image.full(holder.key))
    if not holder.coding:
        return body[holder.start + index * _FRAME * 4096 :][: _FRAME * 4096]
    end = holder.start + list(accumulate(holder.lengths))[index]
    coded = body[end - holder.lengths[index] : end]
    if holder.coding & 0x10:
        coded = image.opened(holder.name, index, coded)
    size = min(_FRAME, holder.blocks - index * _FRAME) * 4096
    if len(coded) == size:
        return coded
    if holder.coding & 0x0F == 1:
        import zstandard

        return bytes(zstandard.ZstdDecompressor().decompress(coded, max_output_size=size))
    import lz4.block  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return bytes(lz4.block.decompress(coded, uncompressed_size=size))


def _checkpoint(manifest: str, get: Get, image: Image) -> None:
    if not manifest:
        return
    body = image.whole(get, manifest)
    if body[:8] != b"kedgemap" or zlib.crc32(body[12:]) != int.from_bytes(body[8:12], "little"):
        raise Unreadable(f"{image.full(manifest)} is damaged")
    content = json.loads(zlib.decompress(body[12:]))
    named = (content["uuid"], content["seq"]) == (image.uuid, _seq(manifest))
    if content["format"] not in (1, 2) or not named:
        raise Unreadable(f"{image.full(manifest)} is not a checkpoint of disk {image.uuid}")
    objects = {}
    for number, key, start, blocks, _born, _live, _died, *coded in content["objects"]:
        objects[number] = Holder(key, start, blocks)
        if coded:
            lengths = base64.b64decode(coded[2])
            lengths_read = struct.unpack(f"<{len(lengths) // 4}I", lengths)
            name = bytes.fromhex(coded[1])
            objects[number] = Holder(key, start, blocks, coded[0], name, lengths_read)
    for index, key in content["regions"]:
        whose = key.split("/")[1] if key.startswith("disks/") else image.uuid
        _region(image.whole(get, key), (whose, index, _seq(key)), objects, image)
    image.seq, image.link = content["seq"], bytes.fromhex(content["hash"])
    image.next_object = content["next_object"]


def _seq(key: str) -> int:
    """After which record a part of a checkpoint was made, as its name says."""
    return int(key.split("/")[-2].partition("-")[0], 16)


def _region(
    body: bytes, wanted: tuple[str, int, int], objects: dict[int, Holder], image: Image
) -> None:
    magic, version, words, index, made, blocks, size = _REGION.unpack_from(body)
    start = _REGION.size + words
    (crc,) = struct.unpack_from("<I", body, start)
    named = (body[_REGION.size : start].decode(), index, made) == wanted
    right = zlib.crc32(body[start + 4 :], zlib.crc32(body[:start])) == crc
    if (magic, version) != (b"kedgemap", 1) or not (named and right):
        raise Unreadable(f"region {index} of disk {image.uuid} is damaged")
    arrays = zlib.decompress(body[start + 4 : start + 4 + size])
    at = struct.unpack(f"<{blocks}Q", arrays[: 8 * blocks])
    sums = struct.unpack(f"<{blocks}I", arrays[8 * blocks :])
    for place, where in enumerate(at):
        if where:
            image.places[index * blocks + place] = (
                *(objects[where >> 20], where & 0xFFFFF, sums[place]),
            )


def _apply(body: bytes, image: Image) -> None:
    """Apply the record `image.seq`."""
    magic, version, kind, coding, words, found, _epoch, _session, put_id, *rest = (
        _RECORD.unpack_from(body)
    )
    previous, _upto, _first, n, e, c, inline = rest
    end = len(body) - inline
    at = _RECORD.size + (4 if version == 2 else 0)
    tables_at = at + (words >> 16) + (words & 0xFFFF)
    named = body[at : at + (words >> 16)].decode()
    known = magic == b"kedgelog" and version == (2 if coding else 1)
    if not known or (found, named, previous) != (image.seq, image.uuid, image.link):
        raise Unreadable(f"log record {image.seq} does not continue the disk {image.uuid}")
    if zlib.crc32(body[: end - 4]) != int.from_bytes(body[end - 4 : end], "little"):
        raise Unreadable(f"log record {image.seq} of disk {image.uuid} is damaged")
    tables = body[tables_at : end - 4]
    if coding & 0x10:
        tables = image.opened(put_id, _TABLE, tables, body[:tables_at])
    extents_at = n * _OBJECT.size
    sums_at = extents_at + e * _EXTENT.size
    extents = list(_EXTENT.iter_unpack(tables[extents_at:sums_at]))
    own = _holders(tables[:extents_at], coding, tables[sums_at + 4 * c :])
    if kind != 2:
        lengths = tables[sums_at + 4 * c + 4 * sum(len(h.lengths) for h in own) :]
        of = struct.unpack(f"<{len(lengths) // 4}I", lengths)
        held = max(
            (first + count for _, count, source, first in extents if source == -2), default=0
        )
        own.append(Holder(f"log/{image.seq:016x}", end, held, coding, put_id, of))
    sums = iter(struct.unpack_from(f"<{c}I", tables, sums_at))
    for start, count, source, first in extents:
        for step in range(count):
            if source == -1:
                image.places.pop(start + step, None)
            else:
                holder = own[source if source >= 0 else -1]
                image.places[start + step] = (holder, first + step, next(sums))
    image.link, image.next_object = sha256(body[:end]).digest(), image.next_object + len(own)


def _holders(table: bytes, coding: int, lengths: bytes) -> list[Holder]:
    own, taken = [], 0
    for epoch, session, number, start, blocks in _OBJECT.iter_unpack(table):
        key = f"data/{epoch:016x}-{session.hex()}-{number:08x}"
        count = -(-blocks // _FRAME) if coding else 0
        of = struct.unpack_from(f"<{count}I", lengths, 4 * taken)
        taken += count
        own.append(Holder(key, start, blocks, coding, key.encode(), of))
    return own


def main(arguments: list[str]) -> None:
    """Write the image, sparse."""
    root, image = Path(arguments[0]), Path(arguments[2])
    uuid, _, snapshot = arguments[1].partition("@")
    keys = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    wrapping = Path(arguments[3]).read_bytes() if len(arguments) > 3 else None
    with image.open("xb") as opened:
        for block, data in dump(keys, lambda k: (root / k).read_bytes(), uuid, snapshot, wrapping):
            opened.seek(block * 4096)
            opened.write(data)


if __name__ == "__main__":
    main(sys.argv[1:])
