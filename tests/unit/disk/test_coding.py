"""Compressed and encrypted blocks: what comes back is what was written, or an error."""

import json
import random
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backends.disk import remote
from backends.disk.core import ciphers, commit, segment
from backends.disk.core.ciphers import Cipher, unwrap, wrap
from backends.disk.core.coding import Coder, Compression, Frames
from backends.disk.core.commit import Commit, Kind
from backends.disk.core.head import Head, Heads
from backends.disk.core.segment import Segment
from backends.disk.keys import read_key
from backends.disk.log.locallog import Binding
from backends.disk.remote import Arguments
from backends.disk.unlocking import coder_of, rewrap, wrapped
from backends.errors import Damaged, Invalid
from backends.records.store import StoreRecords
from backends.stores.bucket import Bucket
from backends.stores.memory import MemoryStore
from tests.unit.disk.test_formats import COMMIT, SEGMENT, UUID
from tests.unit.disk.world import BLOCKS, KEY, World, content

CIPHER = Cipher(KEY)
CODERS = [Coder(c, cipher) for c in Compression for cipher in (None, CIPHER)]
BLOCKS_OF_ALL_KINDS = [
    *(content(stamp) for stamp in range(20)),
    *(random.Random(3).randbytes(4096) for _ in range(20)),
]


def coded(coder: Coder) -> str:
    return f"{coder.number:#x}"


@pytest.mark.parametrize("coder", CODERS, ids=coded)
def test_every_frame_can_be_read_alone(coder: Coder) -> None:
    bodies, lengths = coder.encode(b"name", BLOCKS_OF_ALL_KINDS)
    frames, whole = Frames(coder.number, b"name", lengths), b"".join(bodies)
    assert frames.size == len(whole)
    for index in (2, 0, 1):
        start, length = frames.span(index, 1)
        wanted = BLOCKS_OF_ALL_KINDS[index * 16 : index * 16 + 16]
        found = Coder(cipher=coder.cipher).decode(
            *(frames, index, whole[start : start + length], len(wanted))
        )
        assert found == b"".join(wanted)


def test_what_can_be_compressed_is() -> None:
    plain = Coder().encode(b"n", BLOCKS_OF_ALL_KINDS[:16])[1]
    for compression in (Compression.ZSTD, Compression.LZ4):
        assert sum(Coder(compression).encode(b"n", BLOCKS_OF_ALL_KINDS[:16])[1]) * 10 < sum(plain)


@pytest.mark.parametrize("coder", [one for one in CODERS if one.number], ids=coded)
def test_a_spoiled_frame_is_damaged_or_has_other_sums(coder: Coder) -> None:
    (body,), lengths = coder.encode(b"name", BLOCKS_OF_ALL_KINDS[:16])
    frames = Frames(coder.number, b"name", lengths)
    for place in range(0, len(body), max(1, len(body) // 50)):
        spoiled = body[:place] + bytes([body[place] ^ 4]) + body[place + 1 :]
        try:
            found = coder.decode(frames, 0, spoiled, 16)
        except Damaged:
            continue
        assert coder.cipher is None
        assert len(found) == 16 * 4096
    with pytest.raises(Damaged):
        coder.decode(frames, 0, body[:-1], 16)


def test_a_frame_that_announces_too_much_is_not_expanded() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    with pytest.raises(Damaged, match="announces more"):
        Coder().decode(Frames(1, b"n", array("I", [len(bomb)])), 0, bomb, 16)


def test_boxes_open_only_where_they_were_sealed() -> None:
    (one, two), lengths = Coder(cipher=CIPHER).encode(b"a", BLOCKS_OF_ALL_KINDS[:32])
    coder = Coder(cipher=CIPHER)
    own, other = Frames(0x10, b"a", lengths), Frames(0x10, b"b", lengths)
    assert coder.decode(own, 0, one, 16)
    for frames, index, body in ((own, 1, one), (own, 0, two), (other, 0, one)):
        with pytest.raises(Damaged, match="belongs elsewhere"):
            coder.decode(frames, index, body, 16)
    with pytest.raises(Damaged, match="not encrypted"):
        coder.open("ckpt/a", b"plain")
    with pytest.raises(Damaged, match="unlike its disk"):
        Coder().open("ckpt/a", coder.seal("ckpt/a", b"x"))
    with pytest.raises(Damaged):
        coder.open("ckpt/b", coder.seal("ckpt/a", b"x"))


def coded_commit(coder: Coder) -> Commit:
    bodies, lengths = coder.encode(COMMIT.put_id, [bytes(range(256)) * 16])
    (held,) = COMMIT.objects
    return replace(
        COMMIT,
        objects=(replace(held, lengths=array("I", [99])),),
        inline=b"".join(bodies),
        coding=coder.number,
        lengths=lengths,
        cipher=coder.cipher,
    )


@pytest.mark.parametrize("coder", [one for one in CODERS if one.number], ids=coded)
def test_records_and_objects_keep_how_they_are_coded(coder: Coder) -> None:
    record = coded_commit(coder)
    body = record.encode()
    found = commit.decode(body, uuid=UUID, seq=7, cipher=coder.cipher)
    assert found == record
    assert body[found.inline_start :] == record.inline
    assert commit.epoch_of(body) == record.epoch
    assert found.hash() == record.hash()
    made = replace(SEGMENT, coding=coder.number, lengths=array("I", [5]), cipher=coder.cipher)
    written = made.encode([b"12345"])
    assert segment.decode(written, coder.cipher) == made
    assert written[made.start :] == b"12345"


@pytest.mark.parametrize("coder", CODERS, ids=coded)
def test_the_beginning_of_a_record_says_what_the_whole_says(coder: Coder) -> None:
    """... but for the bytes of its blocks; less than that is no record, and never taken for one."""
    record = coded_commit(coder) if coder.number else replace(COMMIT, inline=bytes(8192))
    body = record.encode()
    end = commit.told(body[:200])
    assert 0 < end < len(body)
    for length in (end, end + 1, len(body)):
        found = commit.decode(body[:length], uuid=UUID, seq=7, cipher=coder.cipher, whole=False)
        assert found.hash() == record.hash()
        assert found.left_out == len(record.inline)
        places = (found.inline_start, found.inline_blocks, found.frames(len(found.objects)))
        assert places == (
            *(record.inline_start, record.inline_blocks),
            record.frames(len(record.objects)),
        )
        assert replace(found, inline=record.inline, left_out=0) == record
        with pytest.raises(ValueError, match="not here as a whole"):
            found.encode()
    for length in range(end):
        with pytest.raises(Damaged):
            commit.decode(body[:length], uuid=UUID, seq=7, cipher=coder.cipher, whole=False)
    for length in (end, end + 1, len(body) - 1):
        with pytest.raises(Damaged):
            commit.decode(body[:length], uuid=UUID, seq=7, cipher=coder.cipher)


def test_tables_are_sealed_with_what_stands_before_them() -> None:
    """A record cannot be given another place in the log, nor an object another name."""
    body = coded_commit(Coder(cipher=CIPHER)).encode()
    with pytest.raises(Damaged, match="no key"):
        commit.decode(body, uuid=UUID, seq=7)
    moved = _with_right_checksum(body, place=16)
    with pytest.raises(Damaged):
        commit.decode(moved, uuid=UUID, seq=commit._Frame(moved).seq, cipher=CIPHER)
    made = Segment(
        *(SEGMENT.name, UUID, SEGMENT.extents, SEGMENT.checksums, 0x10),
        *(array("I", [5]), CIPHER),
    )
    with pytest.raises(Damaged):
        segment.decode(_segment_renumbered(made), CIPHER)


def _with_right_checksum(body: bytes, place: int) -> bytes:
    import struct
    import zlib

    end = commit._Frame(body).end
    table = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 : end]
    return table + struct.pack("<I", zlib.crc32(table)) + body[end + 4 :]


def _segment_renumbered(made: Segment) -> bytes:
    import struct
    import zlib

    body = made.encode([])
    table = bytearray(body[:-4])
    table[40] ^= 1
    return bytes(table) + struct.pack("<I", zlib.crc32(table))


def test_an_encrypted_disk_takes_no_data_in_the_clear() -> None:
    with pytest.raises(Damaged, match="not encrypted, unlike its disk"):
        commit.decode(COMMIT.encode(), uuid=UUID, seq=7, cipher=CIPHER)
    fence = Commit(7, Kind.FENCE, 9, bytes(16), bytes(16), bytes(32), UUID, "n")
    assert commit.decode(fence.encode(), uuid=UUID, seq=7, cipher=CIPHER) == fence


class Recorder:
    """Notes what is sealed under which key with which nonce."""

    seen: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}  # noqa: RUF012
    real = AESGCM

    def __init__(self, key: bytes) -> None:
        self.key = key

    def encrypt(self, nonce: bytes, data: bytes, beside: bytes | None) -> bytes:
        sealed = (bytes(data), bytes(beside or b""))
        assert self.seen.setdefault((self.key, nonce), sealed) == sealed
        return self.real(self.key).encrypt(nonce, data, beside)

    def decrypt(self, nonce: bytes, data: bytes, beside: bytes | None) -> bytes:
        return self.real(self.key).decrypt(nonce, data, beside)


def test_no_nonce_is_used_for_two_texts_and_nothing_is_in_the_clear() -> None:
    """Also when writers race for a slot of the log, die, and begin again."""
    run_recorded(range(1, 15, 2))
    assert len(Recorder.seen) > 300


def test_one_key_for_all_objects_would_be_noticed() -> None:
    def box(self: Cipher, name: bytes) -> ciphers.Box:
        return ciphers.Box(Recorder(self._key))  # type: ignore[arg-type]

    with patch.object(Cipher, "box", box), pytest.raises(AssertionError):
        run_recorded(range(1, 15, 2))


def run_recorded(seeds: Iterable[int]) -> None:
    Recorder.seen = {}
    with patch.object(ciphers, "AESGCM", Recorder):
        for seed in seeds:
            world = World(seed)
            world.run(150)
            texts = [content(stamp)[:64] for stamp in range(1, world.stamp + 1)]
            for key, body in world.bucket.objects.items():
                assert not any(text in body for text in texts), key


def keys(tmp_path: Path, **found: bytes) -> str:
    for name, body in found.items():
        (tmp_path / name).write_bytes(body)
    return str(tmp_path)


def test_keys_are_found_by_name_in_three_spellings(tmp_path: Path) -> None:
    import base64

    where = keys(
        tmp_path,
        plain=KEY,
        hex=KEY.hex().encode() + b"\n",
        base64=base64.b64encode(KEY) + b"\n",
        short=b"abc",
    )
    assert {read_key(where, name) for name in ("plain", "hex", "base64")} == {KEY}
    with pytest.raises(Invalid, match="no key none"):
        read_key(where, "none")
    with pytest.raises(Invalid, match="holds no key"):
        read_key(where, "short")
    with pytest.raises(Invalid, match="no name of a key"):
        read_key(where, "../plain")
    with pytest.raises(Invalid, match="setting `keys`"):
        read_key("", "plain")


def test_wrong_key_is_refused(tmp_path: Path) -> None:
    box = wrap(KEY, KEY[::-1])
    assert unwrap(KEY, box, subject="disk d") == KEY[::-1]
    with pytest.raises(Invalid, match="disk d does not open"):
        unwrap(KEY[::-1], box, subject="disk d")
    head = Head(UUID, 4096, key_name="k", wrapped_key=box)
    with pytest.raises(Invalid, match="the key k"):
        coder_of(head, keys(tmp_path, k=KEY[::-1]))


@pytest.mark.parametrize("fault", ["missing", "another"])
def test_wrong_key_and_nothing_is_written(tmp_path: Path, fault: str) -> None:
    store = MemoryStore()
    where = keys(tmp_path, k=KEY)
    heads = Heads(StoreRecords(store))
    heads.create(UUID, BLOCKS * 4096, key_name="k", wrapped_key=wrapped(where, "k", KEY[::-1]))
    (tmp_path / "k").unlink() if fault == "missing" else keys(tmp_path, k=KEY[::-1])
    before = dict(store.objects)
    arguments = asdict(
        Arguments(Bucket("b"), UUID, "node", str(tmp_path / "disk"), claim=1, keys=where)
    )
    with patch.object(remote, "bucket_objects", lambda bucket: store), pytest.raises(Invalid):
        remote.open_remote(arguments)
    assert store.objects == before
    assert not (tmp_path / "disk").exists()


def test_what_a_server_is_told_holds_no_key(tmp_path: Path) -> None:
    where = keys(tmp_path, k=KEY)
    told: Mapping[str, Any] = asdict(Arguments(Bucket("b"), UUID, "n", "d", 1, keys=where))
    assert KEY.hex() not in json.dumps(told)


def test_the_data_key_is_wrapped_by_another_key(tmp_path: Path) -> None:
    """No data are written again, and the old key opens nothing any more."""
    store = MemoryStore()
    where = keys(tmp_path, old=KEY, new=KEY[::-1])
    heads = Heads(StoreRecords(store))
    heads.create(UUID, 4096, key_name="old", wrapped_key=wrapped(where, "old", KEY[::-1]))
    before = coder_of(heads.read(UUID), where)
    rewrap(heads, UUID, where, "new")
    head = heads.read(UUID)
    assert head.key_name == "new"
    (tmp_path / "old").unlink()
    after = coder_of(head, where)
    assert after.open("k", before.seal("k", b"text")) == b"text"
    with pytest.raises(Invalid):
        unwrap(KEY, head.wrapped_key, subject="it")


def test_bindings_tell_nothing() -> None:
    """The local log's binding names no key."""
    assert "key" not in json.dumps(asdict(Binding(UUID, "l", 1, "s", "n", "b", 4096)))
