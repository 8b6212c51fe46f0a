"""Rebuilds the image of a disk from its bucket and nothing else, read-only.

Written from docs/format.md and sharing no code with the rest of this package: a second opinion on
the format, and the last resort when nothing else runs.

    python -m backends.disk.dump DIRECTORY UUID[@SNAPSHOT] IMAGE

DIRECTORY holds a copy of the profile's prefix, one file per object (`aws s3 sync`).
"""

import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

Get = Callable[[str], bytes]
Places = dict[int, tuple[str, int, int]]
"""Block -> (object, byte offset, CRC-32)."""
_RECORD = struct.Struct("<8sHBxIQQ16s16s32sQQIIII")
_OBJECT = struct.Struct("<Q16sQII")
_EXTENT = struct.Struct("<QIiI")
_REGION = struct.Struct("<8sHHIQII")


class Unreadable(Exception):
    """What is in the bucket is not what the format says."""


def dump(
    keys: Iterable[str], get: Get, uuid: str, snapshot: str = ""
) -> Iterator[tuple[int, bytes]]:
    """Every block of the disk that was written, as (number, bytes), in ascending order; of one of
    its snapshots, if one is named. `keys`: all keys below the prefix. Unreadable when something is
    missing or damaged."""
    prefix, keys = f"disks/{uuid}/", list(keys)
    names = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
    manifest = _manifest(keys, get, uuid, snapshot)
    seq, link, places, objects, next_object = _checkpoint(manifest, get, prefix, uuid)
    while not snapshot and f"log/{seq + 1:016x}" in names:
        seq += 1
        body = get(f"{prefix}log/{seq:016x}")
        link, next_object = _apply(body, seq, uuid, link, places, objects, next_object)
    for block in sorted(places):
        key, offset, crc = places[block]
        data = get(_full(prefix, key))[offset : offset + 4096]
        if len(data) != 4096 or zlib.crc32(data) != crc:
            raise Unreadable(f"block {block} in {_full(prefix, key)} does not match its checksum")
        yield block, data


def _full(prefix: str, key: str) -> str:
    """Objects of the disk that this one was cloned from are named in full."""
    return key if key.startswith("disks/") else prefix + key


def _manifest(keys: list[str], get: Get, uuid: str, snapshot: str) -> str:
    """The checkpoint that the head names, or a snapshot in it; empty when there is none yet."""
    slots = f"records/disks/{uuid}/"
    states = sorted(key for key in keys if key.startswith(slots) and key[-16:] != "0" * 16)
    if not states:
        raise Unreadable(f"there is no record {slots}...: the head of the disk")
    head = json.loads(get(states[-1]).split(b"\n", 2)[2])
    if head["format"] not in (1, 2) or head["uuid"] != uuid:
        raise Unreadable(f"{states[-1]} is not the head of disk {uuid}")
    if not snapshot:
        return str(head["checkpoint"])
    if snapshot not in head["pins"]:
        raise Unreadable(f"disk {uuid} has no snapshot {snapshot}")
    return str(head["pins"][snapshot]["manifest"])


def _checkpoint(
    manifest: str, get: Get, prefix: str, uuid: str
) -> tuple[int, bytes, Places, dict[int, tuple[str, int]], int]:
    if not manifest:
        return 0, bytes(32), {}, {}, 1
    body = get(prefix + manifest)
    if body[:8] != b"kedgemap" or zlib.crc32(body[12:]) != int.from_bytes(body[8:12], "little"):
        raise Unreadable(f"{prefix}{manifest} is damaged")
    content = json.loads(zlib.decompress(body[12:]))
    if content["format"] not in (1, 2) or content["uuid"] != uuid:
        raise Unreadable(f"{prefix}{manifest} is not a checkpoint of disk {uuid}")
    objects = {number: (key, start) for number, key, start, *_ in content["objects"]}
    places: Places = {}
    for index, key in content["regions"]:
        whose = key.split("/")[1] if key.startswith("disks/") else uuid
        _region(get(_full(prefix, key)), whose, index, objects, places)
    return content["seq"], bytes.fromhex(content["hash"]), places, objects, content["next_object"]


def _region(
    body: bytes, uuid: str, index: int, objects: dict[int, tuple[str, int]], places: Places
) -> None:
    magic, version, words, found, _, blocks, size = _REGION.unpack_from(body)
    start = _REGION.size + words
    (crc,) = struct.unpack_from("<I", body, start)
    named = (body[_REGION.size : start].decode(), found) == (uuid, index)
    right = zlib.crc32(body[start + 4 :], zlib.crc32(body[:start])) == crc
    if (magic, version) != (b"kedgemap", 1) or not (named and right):
        raise Unreadable(f"region {index} of disk {uuid} is damaged")
    arrays = zlib.decompress(body[start + 4 : start + 4 + size])
    at = struct.unpack(f"<{blocks}Q", arrays[: 8 * blocks])
    sums = struct.unpack(f"<{blocks}I", arrays[8 * blocks :])
    for place, where in enumerate(at):
        if where:
            key, base = objects[where >> 20]
            offset = base + (where & 0xFFFFF) * 4096
            places[index * blocks + place] = (key, offset, sums[place])


def _apply(
    body: bytes,
    seq: int,
    uuid: str,
    link: bytes,
    places: Places,
    objects: dict[int, tuple[str, int]],
    next_object: int,
) -> tuple[bytes, int]:
    """Apply one record; return the hash for the next one and the next object's number."""
    magic, version, kind, words, found, *_, previous, _upto, _first, n, e, c, inline = (
        _RECORD.unpack_from(body)
    )
    place = _RECORD.size + (words >> 16) + (words & 0xFFFF)
    extents_at = place + n * _OBJECT.size
    sums_at = extents_at + e * _EXTENT.size
    end = sums_at + 4 * c + 4
    named = body[_RECORD.size : _RECORD.size + (words >> 16)].decode()
    if (magic, version, found, named) != (b"kedgelog", 1, seq, uuid) or previous != link:
        raise Unreadable(f"log record {seq} does not continue the disk {uuid}")
    if len(body) != end + inline or zlib.crc32(body[: end - 4]) != int.from_bytes(
        body[end - 4 : end], "little"
    ):
        raise Unreadable(f"log record {seq} of disk {uuid} is damaged")
    own = [
        (f"data/{epoch:016x}-{session.hex()}-{number:08x}", start)
        for epoch, session, number, start, _ in _OBJECT.iter_unpack(body[place:extents_at])
    ]
    if kind != 2:
        own.append((f"log/{seq:016x}", end))
    objects.update(enumerate(own, next_object))
    sums = iter(struct.unpack_from(f"<{c}I", body, sums_at))
    for start, count, source, first in _EXTENT.iter_unpack(body[extents_at:sums_at]):
        for step in range(count):
            if source == -1:
                places.pop(start + step, None)
            else:
                key, base = own[source if source >= 0 else -1]
                places[start + step] = (key, base + (first + step) * 4096, next(sums))
    return sha256(body[:end]).digest(), next_object + len(own)


def main(arguments: list[str]) -> None:
    """Write the image, sparse."""
    root, image = Path(arguments[0]), Path(arguments[2])
    uuid, _, snapshot = arguments[1].partition("@")
    keys = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    with image.open("xb") as opened:
        for block, data in dump(keys, lambda key: (root / key).read_bytes(), uuid, snapshot):
            opened.seek(block * 4096)
            opened.write(data)


if __name__ == "__main__":
    main(sys.argv[1:])
