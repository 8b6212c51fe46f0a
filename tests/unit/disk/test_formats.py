"""Bytes that released versions wrote must be read for ever: one golden file per format.

`python -m tests.unit.disk.test_formats` writes files that are missing; it never replaces one.
"""

import functools
import zlib
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backends.disk.core import checkpoint, commit, hot, regions, segment
from backends.disk.core.blockmap import StoredObject
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.ciphers import Cipher
from backends.disk.core.coding import Coder, Compression, Frames
from backends.disk.core.commit import Commit, DataObject, Extent, Kind, ObjectName
from backends.disk.core.head import Head, Pin, State
from backends.disk.core.history import Held, Tail
from backends.disk.core.liveness import Litter
from backends.disk.core.logformat import HEADER, Entry, Scan, SegmentHead, checksums, encode
from backends.disk.core.logformat import Kind as EntryKind
from backends.disk.core.regions import Region
from backends.disk.core.segment import Segment
from backends.errors import Damaged
from backends.records import Record

HERE = Path(__file__).parent / "golden"
UUID = "0d1e2f30-0000-4000-8000-000000000001"
SESSION = bytes(range(16))
BLOCK = bytes(range(256)) * 16
COMMIT = Commit(
    seq=7,
    kind=Kind.DATA,
    epoch=1 << 20,
    session=SESSION,
    put_id=bytes(reversed(SESSION)),
    previous=b"\x11" * 32,
    uuid=UUID,
    node="node-1",
    upto=42,
    first_object=3,
    objects=(DataObject(ObjectName(1 << 20, SESSION, 9), 120, 2),),
    extents=(Extent(100, 50, -1, 0), Extent(5, 2, 0, 0), Extent(9, 1, -2, 0)),
    checksums=array("I", [1, 2, *checksums(BLOCK)]),
    inline=BLOCK,
)
SEGMENT = Segment(
    ObjectName(1 << 20, SESSION, 9), UUID, ((5, 1), (8, 1)), checksums(BLOCK + bytes(4096))
)
MANIFEST = Manifest(
    UUID,
    Tail(7, b"\x22" * 32, (Held(1 << 20, SESSION, "node-1", 42),)),
    5,
    {0: "ckpt/0000000000000007-aa/00000000"},
    {3: StoredObject("data/x", 120, 2, 7, 2, 0)},
    (Litter("ckpt/old/manifest", 3, 7),),
)
HEAD_OF_DISK = Head(
    *(UUID, 1 << 30, (1 << 20) + 3, SESSION.hex(), "node-1", State.ATTACHED, True),
    checkpoint="ckpt/x/manifest",
    checkpoint_seq=7,
    boundary=7,
    pins={"before": Pin(7, "ckpt/x/manifest", 1 << 30, "2026-02-03T04:05:06Z", "aa")},
    base="0d1e2f30-0000-4000-8000-000000000002",
)
HOT = [(0, 16), (64, 32)]
REGION = Region(regions.REGION)
REGION.put(17, (3 << 20) | 1, 99)
ENTRY = Entry(1, EntryKind.WRITE, 4096, 4096, 77, 5, 0, checksums(BLOCK))
HEAD = SegmentHead(1, 1, 0, 1234)
SALTED = replace(HEAD, salt=bytes(range(16, 32)))

CIPHER = Cipher(bytes(range(32)))
_BODIES, _LENGTHS = Coder(cipher=CIPHER).encode(COMMIT.put_id, [BLOCK])
CODED_COMMIT = replace(
    COMMIT,
    objects=(replace(COMMIT.objects[0], lengths=array("I", [777])),),
    inline=b"".join(_BODIES),
    coding=0x10,
    lengths=_LENGTHS,
    cipher=CIPHER,
)
CODED_SEGMENT = replace(SEGMENT, coding=1, lengths=array("I", [5]))
CODED_MANIFEST = replace(
    MANIFEST,
    objects={3: StoredObject("data/x", 120, 2, 7, 2, 0, Frames(0x12, b"data/x", array("I", [55])))},
)
FRAMES = {
    f"frame-{c.value}-{'boxed' if k else 'plain'}": Coder(c, k)
    for c in Compression
    for k in (None, CIPHER)
}

FILES: dict[str, Callable[[], bytes]] = {
    "commit-2": CODED_COMMIT.encode,
    "data-2": lambda: CODED_SEGMENT.encode([b"12345"]),
    "manifest-2-coded": CODED_MANIFEST.encode,
    **{
        name: functools.partial(lambda coder: coder.encode(b"name", [BLOCK] * 3)[0][0], coder)
        for name, coder in FRAMES.items()
    },
    "commit-1": COMMIT.encode,
    "data-1": lambda: SEGMENT.encode([BLOCK, bytes(4096)]),
    "manifest-2": MANIFEST.encode,
    "head-2": HEAD_OF_DISK.encode,
    "region-1": lambda: checkpoint.encode_region(UUID, 0, 7, REGION),
    **{
        f"local-log-{head.version}": functools.partial(
            lambda head: head.encode() + encode(ENTRY, head.seal, HEADER) + BLOCK, head
        )
        for head in (HEAD, SALTED)
    },
    "hot-1": lambda: hot.encode(HOT),
}


ALL = ["commit-1", "data-1", "manifest-2", "region-1", "local-log-1", "local-log-2"]
ALL += ["commit-2", "data-2", "manifest-2-coded"]


def golden(name: str) -> bytes:
    return (HERE / name).read_bytes()


def test_a_commit_record() -> None:
    assert COMMIT.encode() == golden("commit-1")
    assert commit.decode(golden("commit-1"), uuid=UUID, seq=7) == COMMIT
    assert golden("commit-1")[COMMIT.inline_start :] == BLOCK


def test_a_data_object() -> None:
    body = golden("data-1")
    assert SEGMENT.encode([BLOCK, bytes(4096)]) == body
    assert segment.decode(body) == SEGMENT
    assert body[SEGMENT.start : SEGMENT.start + 4096] == BLOCK


def test_a_checkpoint() -> None:
    assert MANIFEST.encode() == golden("manifest-2")
    assert checkpoint.decode_manifest(golden("manifest-2"), uuid=UUID) == MANIFEST
    old = replace(MANIFEST, litter=(Litter("ckpt/old/manifest", 0, 7),))
    assert checkpoint.decode_manifest(golden("manifest-1"), uuid=UUID) == old
    assert checkpoint.decode_region(golden("region-1"), uuid=UUID, index=0) == REGION
    assert regions.REGION == 262144


def test_a_hot_list() -> None:
    assert hot.encode(HOT) == golden("hot-1")
    assert hot.decode(golden("hot-1")) == HOT


def test_a_head() -> None:
    assert HEAD_OF_DISK.encode() == golden("head-2")
    for version in (1, 2):
        head = Head.decode(Record(f"disks/{UUID}", golden(f"head-{version}"), "1"))
        assert head == (HEAD_OF_DISK if version == 2 else replace(HEAD_OF_DISK, pins={}, base=""))
    with pytest.raises(Damaged):
        Head.decode(Record(f"disks/{UUID}", golden("head-2").replace(b'": 2', b'": 3', 1), "1"))


def scanned(body: bytes) -> tuple[SegmentHead | None, list[Entry]]:
    head = SegmentHead.decode(body)
    return head, list(Scan(body, 0, 1, head.seal).entries()) if head else []


@pytest.mark.parametrize("head", [HEAD, SALTED])
def test_a_local_log(head: SegmentHead) -> None:
    name = f"local-log-{head.version}"
    body = golden(name)
    assert FILES[name]() == body
    found, (entry,) = scanned(body)
    assert found == head
    assert (entry.seq, entry.offset, entry.unique, entry.connection) == (1, 4096, 77, 5)
    assert body[entry.position : entry.end] == BLOCK


def test_a_server_of_version_1_says_that_a_local_log_is_newer() -> None:
    """It looks at the first 48 bytes: were their checksum wrong, it would remove the file."""
    body = golden("local-log-2")
    assert body[:8] == b"kedgeseg"
    assert body[8:10] == b"\2\0"
    assert body[44:48] == zlib.crc32(body[:44]).to_bytes(4, "little")
    newer = body[:8] + b"\3" + body[9:44]
    with pytest.raises(Damaged, match="newer version"):
        SegmentHead.decode((newer + zlib.crc32(newer).to_bytes(4, "little")).ljust(4096))


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame(name: str) -> None:
    """Compressors may write other bytes in other versions; what was written is read."""
    body = golden(name)
    frames = Frames(FRAMES[name].number, b"name", array("I", [len(body)]))
    assert FRAMES[name].decode(frames, 0, body, 3) == BLOCK * 3


def test_what_is_coded() -> None:
    assert CODED_COMMIT.encode() == golden("commit-2")
    assert commit.decode(golden("commit-2"), uuid=UUID, seq=7, cipher=CIPHER) == CODED_COMMIT
    assert CODED_SEGMENT.encode([b"12345"]) == golden("data-2")
    assert segment.decode(golden("data-2")) == CODED_SEGMENT
    body = golden("manifest-2-coded")
    assert checkpoint.decode_manifest(body, uuid=UUID) == CODED_MANIFEST


@pytest.mark.parametrize("name", ALL)
def test_no_flipped_bit_is_believed(name: str) -> None:
    """Wherever a bit flips, the object is refused, or only blocks that have sums of their own
    are touched."""
    body = golden(name)
    readers: dict[str, Callable[[bytes], object]] = {
        "commit-1": lambda b: commit.decode(b, uuid=UUID, seq=7).table(),
        "data-1": segment.decode,
        "manifest-2": lambda b: checkpoint.decode_manifest(b, uuid=UUID),
        "commit-2": lambda b: commit.decode(b, uuid=UUID, seq=7, cipher=CIPHER).table(),
        "data-2": segment.decode,
        "manifest-2-coded": lambda b: checkpoint.decode_manifest(b, uuid=UUID),
        "region-1": lambda b: checkpoint.decode_region(b, uuid=UUID, index=0),
        "local-log-1": scanned,
        "local-log-2": scanned,
    }
    right = readers[name](body)
    of_blocks = {"data-1": 8192, "commit-1": 4096, "data-2": 5, "commit-2": 4112}
    length = len(body) - of_blocks.get(name, 0)
    for place in range(0, length, 1 if length < 1000 else 7):
        spoiled = body[:place] + bytes([body[place] ^ 4]) + body[place + 1 :]
        try:
            found = readers[name](spoiled)
        except Damaged:
            continue
        begins = {"local-log-1": 48, "local-log-2": 68}.get(name, 4096)
        harmless = begins <= place < 4096
        assert harmless or found != right, f"byte {place} of {name}"
        assert not harmless or found == right


def test_what_is_cut_short_is_refused() -> None:
    for length in (0, 7, 100, len(golden("commit-1")) - 1):
        with pytest.raises(Damaged):
            commit.decode(golden("commit-1")[:length], uuid=UUID, seq=7)
    with pytest.raises(Damaged):
        commit.decode(golden("commit-1"), uuid=UUID, seq=8)
    with pytest.raises(Damaged):
        commit.decode(golden("commit-1"), uuid="other", seq=7)


if __name__ == "__main__":
    for name, make in FILES.items():
        if not (HERE / name).exists():
            (HERE / name).write_bytes(make())
