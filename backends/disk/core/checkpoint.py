"""Checkpoints: the map after one record, so that a new owner need not read the log from the start.

    ckpt/<seq>-<epoch><nonce>/manifest      the objects, and where each region is
    ckpt/<seq>-<epoch><nonce>/<region>      the arrays of one region that changed since the last one

Regions that did not change are named where an earlier checkpoint put them.
"""

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backends.disk.core.blockmap import StoredObject
from backends.disk.core.coding import Frames, frames_of, known
from backends.disk.core.commit import little, words32, words64
from backends.disk.core.history import Held, Tail
from backends.disk.core.liveness import Litter
from backends.disk.core.regions import REGION, Region
from backends.errors import Damaged

MAGIC = b"kedgemap"
VERSION = 1
"""Of a region."""
MANIFEST_VERSION = 2
_HEAD = struct.Struct("<8sHHIQII")


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds besides the regions."""

    uuid: str
    tail: Tail
    next_object: int
    regions: Mapping[int, str]
    """Key of each region's object."""
    objects: Mapping[int, StoredObject]
    """Also those that are dead and not known to be deleted."""
    litter: tuple[Litter, ...] = ()
    """Parts of earlier checkpoints that this one does not need and that may still be there."""

    def encode(self) -> bytes:
        """The manifest's bytes: a line of JSON, compressed, behind a checksum."""
        content = {
            "format": MANIFEST_VERSION,
            "uuid": self.uuid,
            "seq": self.tail.seq,
            "hash": self.tail.hash.hex(),
            "holders": [{**asdict(h), "session": h.session.hex()} for h in self.tail.holders],
            "next_object": self.next_object,
            "regions": sorted(self.regions.items()),
            "objects": [
                [number, o.key, o.start, o.blocks, o.born, o.live, o.died, *_coded(o.frames)]
                for number, o in sorted(self.objects.items())
            ],
            "litter": sorted([part.key, part.born, part.died] for part in self.litter),
        }
        body = zlib.compress(json.dumps(content).encode(), 1)
        return MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def decode_manifest(body: bytes, *, uuid: str, seq: int | None = None) -> Manifest:
    """Damaged unless `body` is a manifest of that disk, and as it is after record `seq`."""
    try:
        if body[:8] != MAGIC or zlib.crc32(body[12:]) != struct.unpack_from("<I", body, 8)[0]:
            raise ValueError("its checksum is wrong")
        content = json.loads(zlib.decompress(body[12:]))
        if content["format"] not in (1, MANIFEST_VERSION) or content["uuid"] != uuid:
            raise ValueError(f"it is of {content['uuid']}, format {content['format']}")
        if seq not in (None, content["seq"]):
            raise ValueError(f"it is that of record {content['seq']}, not {seq}")
        holders = tuple(
            Held(h["epoch"], bytes.fromhex(h["session"]), h["node"], h["upto"])
            for h in content["holders"]
        )
        return Manifest(
            uuid=uuid,
            tail=Tail(content["seq"], bytes.fromhex(content["hash"]), holders),
            next_object=content["next_object"],
            regions={int(index): str(key) for index, key in content["regions"]},
            objects={int(number): _stored(*rest) for number, *rest in content["objects"]},
            litter=tuple(_litter(part, content["seq"]) for part in content["litter"]),
        )
    except (ValueError, KeyError, TypeError, zlib.error, struct.error) as error:
        raise Damaged(f"a checkpoint of disk {uuid} cannot be read: {error}") from error


def _litter(part: Any, seq: int) -> Litter:
    """Format 1 had only the key; it was needed somewhere before that checkpoint."""
    return Litter(part, 0, seq) if isinstance(part, str) else Litter(*part)


def _coded(frames: Frames | None) -> tuple[int, str, str] | tuple[()]:
    """What a coded object's row has more: coding, name, and the lengths of its frames."""
    if frames is None:
        return ()
    lengths = base64.b64encode(little(frames.lengths)).decode()
    return frames.coding, frames.name.hex(), lengths


def _stored(*row: Any) -> StoredObject:
    if len(row) == 6:
        return StoredObject(*row)
    key, start, blocks, born, live, died, coding, name, lengths = row
    frames = Frames(coding, bytes.fromhex(name), words32(base64.b64decode(lengths)))
    if not known(coding) or len(frames.lengths) != frames_of(blocks):
        raise ValueError(f"object {key} is coded in a way this version of kedge does not know")
    return StoredObject(key, start, blocks, born, live, died, frames)


def encode_region(uuid: str, index: int, seq: int, region: Region) -> bytes:
    """The object of one region."""
    name = uuid.encode()
    arrays = zlib.compress(little(region.places()) + little(region.checksums()), 1)
    head = _HEAD.pack(MAGIC, VERSION, len(name), index, seq, REGION, len(arrays)) + name
    return head + struct.pack("<I", zlib.crc32(arrays, zlib.crc32(head))) + arrays


def decode_region(body: bytes, *, uuid: str, index: int, seq: int | None = None) -> Region:
    """Damaged unless `body` is that region of that disk, and as it is after record `seq`."""
    try:
        magic, version, words, found, made, blocks, size = _HEAD.unpack_from(body)
        start = _HEAD.size + words
        if (magic, version, blocks) != (MAGIC, VERSION, REGION) or len(body) != start + 4 + size:
            raise ValueError("its format is not known to this version of kedge")
        (crc,) = struct.unpack_from("<I", body, start)
        if zlib.crc32(body[start + 4 :], zlib.crc32(body[:start])) != crc:
            raise ValueError("its checksum is wrong")
        right = (body[_HEAD.size : start].decode(), found) == (uuid, index)
        if not right or seq not in (None, made):
            raise ValueError("it is another one")
        arrays = zlib.decompress(body[start + 4 :])
        return Region.of(words64(arrays[: 8 * REGION]), words32(arrays[8 * REGION :]))
    except (ValueError, struct.error, zlib.error) as error:
        raise Damaged(f"region {index} of disk {uuid} cannot be read: {error}") from error
