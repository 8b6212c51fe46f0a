"""Whatever lies in a bucket or on a node's disk: every parser reads it or says `Damaged`.

The golden files are cut, joined, repeated and changed; then the same with checksums made right
again, as a newer version or somebody's hand would leave them. `HYPOTHESIS=long` tries many more.
"""

import json
import lzma
import os
import struct
import zlib
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.disk import serve
from backends.disk.core import checkpoint, commit, hot, segment
from backends.disk.core.coding import Coder, Frames
from backends.disk.core.commit import MAGIC
from backends.disk.core.head import Head
from backends.disk.core.logformat import HEADER, Scan, SegmentHead
from backends.disk.fuse.ring import Ring
from backends.disk.log.locallog import LocalLog, binding_of, new_log
from backends.disk.reading.cache import Cache
from backends.errors import Damaged
from backends.records import Record
from backends.records.slots import Slot
from backends.records.versions import Version
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_formats import CIPHER, FRAMES, UUID, golden
from tests.unit.disk.test_locallog import BINDING, flush, write

pytestmark = pytest.mark.sim

Parser = Callable[[bytes], object]
VERSION = Version(3, "00" * 8)
SLOT = Slot(VERSION, 1, golden("head-2"))
GRAVE = Slot(VERSION, 1, None)
PLACE = f"disks/{UUID}"
BOXED = Coder(cipher=CIPHER)
CONFIG = serve.Config("backends.disk.remote:open_remote", {"uuid": UUID}).to_json().encode()


def frame(name: str) -> Parser:
    def decode(body: bytes) -> object:
        frames = Frames(FRAMES[name].number, b"name", array("I", [len(body)]))
        return FRAMES[name].decode(frames, 0, body, 3)

    return decode


def local_log(body: bytes) -> object:
    """A segment file; alone, and as the whole log of a disk."""
    head = SegmentHead.decode(body)
    if head:
        list(Scan(body, 0, 1, head.seal).entries())
    files = MemoryFiles()
    new_log(files, BINDING, 8)
    files.put("segment-0000000000000001", body.ljust(BINDING.segment, b"\0"))
    log = LocalLog(files, BINDING, 8)
    unsent, found = log.holds_unsent(), log.recover(0)
    assert unsent is bool(found)
    return found


def binding(body: bytes) -> object:
    files = MemoryFiles()
    files.put("binding.json", body)
    return binding_of(files, BINDING.uuid)


def word(body: bytes) -> object:
    """About what of a log was sent."""
    files = MemoryFiles()
    write(new_log(files, BINDING, 8), 1)
    files.put("sent", body)
    return LocalLog(files, BINDING, 8).holds_unsent()


def ring(body: bytes) -> object:
    memory = os.memfd_create("fuzz")
    try:
        os.pwrite(memory, body, 0)
        found = Ring(memory)
        return found.negotiated, found.taken()
    finally:
        os.close(memory)


def table(body: bytes) -> object:
    with TemporaryDirectory() as there:
        (Path(there) / "cache.table").write_bytes(body)
        cache = Cache(Path(there) / "cache", 1 << 18)
        found = cache.used()
        cache.close()
        return found


def real_segment() -> bytes:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    for number in (1, 2, 3):
        write(log, number)
        flush(log)
    return files.read("segment-0000000000000001")


def real_binding() -> bytes:
    files = MemoryFiles()
    new_log(files, BINDING, 8)
    return files.read("binding.json")


PARSERS: dict[str, tuple[Parser, bytes]] = {
    "record": (lambda b: commit.decode(b, uuid=UUID, seq=7).frames(0), golden("commit-1")),
    "coded record": (
        lambda b: commit.decode(b, uuid=UUID, seq=7, cipher=CIPHER).table(),
        golden("commit-2"),
    ),
    "epoch of a record": (commit.epoch_of, golden("commit-1")),
    "data object": (lambda b: segment.decode(b, CIPHER), golden("data-1")),
    "coded data object": (lambda b: segment.decode(b, CIPHER), golden("data-2")),
    "manifest": (lambda b: checkpoint.decode_manifest(b, uuid=UUID), golden("manifest-2")),
    "region": (lambda b: checkpoint.decode_region(b, uuid=UUID, index=0), golden("region-1")),
    "head": (lambda b: Head.decode(Record(PLACE, b, "1")), golden("head-2")),
    "slot of a record": (lambda b: Slot.unsealed(PLACE, 3, b), SLOT.sealed(PLACE)),
    "tombstone": (lambda b: Slot.unsealed(PLACE, 3, b), GRAVE.sealed(PLACE)),
    "hint": (hot.decode, hot.encode([(0, 16), (64, 32)])),
    "local log": (local_log, real_segment()),
    "local log of version 1": (local_log, golden("local-log-1")),
    "binding": (binding, real_binding()),
    "word about what was sent": (word, golden("sent-1")),
    "facts of a ring": (ring, lzma.decompress(golden("ring-1"))),
    "table of the cache": (table, golden("cache-table-1")),
    "box": (lambda b: BOXED.open(PLACE, b), BOXED.seal(PLACE, b"a part of a checkpoint")),
    "configuration": (lambda b: serve.parse(b.decode(errors="replace")), CONFIG),
    **{name: (frame(name), golden(name)) for name in FRAMES},
}


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """Some pieces of it, in some order, with bytes lost, added and changed."""
    place = st.integers(0, len(body))
    for _ in range(draw(st.integers(1, 4))):
        first, last = sorted((draw(place), draw(place)))
        piece = body[first:last]
        body = draw(
            st.sampled_from(
                [
                    body[:first] + body[last:],
                    body[:last],
                    body[first:],
                    body[:last] + piece + body[last:],
                    body[:first] + bytes(len(piece)) + body[last:],
                    body[:first] + draw(st.binary(max_size=8)) + body[first:],
                    body[:first] + draw(st.binary(min_size=1, max_size=8)) + body[first + 4 :],
                ]
            )
        )
    return body


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60)
@given(data=st.data())
def test_it_is_read_or_damaged(name: str, data: st.DataObject) -> None:
    parse, right = PARSERS[name]
    parse(right)
    with suppress(Damaged):
        parse(data.draw(spoiled(right)))


def head_checked(body: bytes) -> bytes:
    """A record whose table has a right checksum again, wherever it says that it ends."""
    try:
        end = commit._HEAD.size + sum(divmod(struct.unpack_from("<I", body, 12)[0], 1 << 16))
        objects, extents, sums = struct.unpack_from("<III", body, commit._HEAD.size - 16)
    except struct.error:
        return body
    end += objects * 40 + extents * 20 + sums * 4
    if end + 4 > min(len(body), 1 << 20):
        return body
    crc = zlib.crc32(body[:end]).to_bytes(4, "little")
    return MAGIC + body[8:end] + crc + body[end + 4 :]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.sampled_from(sorted(json.loads(golden("head-2")))), JSON)
def test_a_head_with_another_value_is_read_or_damaged(field: str, value: object) -> None:
    found = {**json.loads(golden("head-2")), field: value}
    with suppress(Damaged):
        Head.decode(Record(PLACE, json.dumps(found).encode(), "1")).encode()


@settings(max_examples=200)
@given(st.data())
def test_a_manifest_with_another_value_is_read_or_damaged(data: st.DataObject) -> None:
    content = json.loads(zlib.decompress(golden("manifest-2-coded")[12:]))
    field = data.draw(st.sampled_from(sorted(content)))
    inside = content[field][0] if isinstance(content[field], list) and content[field] else None
    if isinstance(inside, list) and data.draw(st.booleans()):
        inside[data.draw(st.integers(0, len(inside) - 1))] = data.draw(JSON)
    elif isinstance(inside, dict) and data.draw(st.booleans()):
        inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(JSON)
    else:
        content[field] = data.draw(JSON)
    body = zlib.compress(json.dumps(content).encode())
    made = checkpoint.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
    with suppress(Damaged):
        checkpoint.decode_manifest(made, uuid=UUID)


@settings(max_examples=150)
@given(st.data())
def test_a_record_with_a_right_checksum_is_read_or_damaged(data: st.DataObject) -> None:
    body = head_checked(data.draw(spoiled(golden("commit-1"))))
    with suppress(Damaged):
        found = commit.decode(body, uuid=UUID, seq=7)
        for index in range(len(found.objects) + 1):
            found.frames(index)


def test_the_fuzz_gets_behind_the_checksums() -> None:
    """Or it would only ever try those."""
    body = bytearray(golden("commit-1"))
    body[commit._HEAD.size + len(UUID) + len("node-1") + 40] ^= 1  # the first block of an extent
    found = commit.decode(head_checked(bytes(body)), uuid=UUID, seq=7)
    assert found.extents[0].start == 101
    assert HEADER == 4096
