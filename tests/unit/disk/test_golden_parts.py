"""What stands around records, objects and segments, as released versions wrote it: small files of
a node and of a bucket, and the memory that one server hands to the next.

`python -m tests.unit.disk.test_golden_parts` writes files that are missing, and replaces none.
"""

import lzma
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backends.disk import serve
from backends.disk.core import checkpoint, hot
from backends.disk.core.coding import Coder
from backends.disk.fuse import ring, wire
from backends.disk.fuse.ring import Ring
from backends.disk.log.locallog import LocalLog, binding_of, new_log
from backends.disk.reading.cache import Cache
from backends.disk.serve import Config
from backends.errors import Damaged
from backends.records.slots import Slot
from backends.records.versions import Version
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_formats import BLOCK, CIPHER, MANIFEST, UUID, golden
from tests.unit.disk.test_locallog import BINDING, write
from tests.unit.test_fuse_wire import request

HERE = Path(__file__).parent / "golden"
RANGES = [(0, 16), (64, 32)]
KEY = f"disks/{UUID}/ckpt/x/manifest"
CODER = Coder(cipher=CIPHER)
CONFIG = Config("backends.disk.remote:open_remote", {"uuid": UUID, "log_bytes": 1 << 30})
VERSION = Version(3, "00" * 8)
SLOTS = {
    "slot-1": Slot(VERSION, 1, b"a value"),
    "tombstone-1": Slot(VERSION, 1, None),
}
AGREED = wire.Negotiated(38, 0x600021)
LINES = 4 * 16 * 4096


def small_log() -> MemoryFiles:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    write(log, 1)
    log.release(1)
    return files


def a_ring() -> bytes:
    """With what INIT agreed on, and one request that was taken."""
    memory = ring.make(2, connection=0xC0FFEE)
    try:
        found = Ring(memory)
        found.negotiated = AGREED
        raw = request(wire.Opcode.READ, wire.TRANSFER.pack(7, 4096, 4096, 0, 0, 0, 0), unique=12)
        found.slot(1)[: len(raw)] = raw
        return lzma.compress(os.pread(memory, os.fstat(memory).st_size, 0))
    finally:
        os.close(memory)


def a_cache() -> dict[str, bytes]:
    with TemporaryDirectory() as there:
        cache = Cache(Path(there) / "cache", LINES)
        cache.put("data/x", 7, BLOCK * 16)
        cache.put("data/y", 0, BLOCK)
        cache.close()
        return {name: (Path(there) / name).read_bytes() for name in ("cache", "cache.table")}


FILES: dict[str, Callable[[], bytes]] = {
    "hot-1": lambda: hot.encode(RANGES),
    "box-1": lambda: CODER.seal(KEY, MANIFEST.encode()),
    "disk-json-1": lambda: CONFIG.to_json().encode(),
    "binding-1": lambda: small_log().read("binding.json"),
    "sent-1": lambda: small_log().read("sent"),
    "ring-1": a_ring,
    "cache-1": lambda: lzma.compress(a_cache()["cache"]),
    "cache-table-1": lambda: a_cache()["cache.table"],
    **{name: lambda slot=slot: slot.sealed("disks/x") for name, slot in SLOTS.items()},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_written_is_what_was_written(name: str) -> None:
    now, then = FILES[name](), golden(name)
    if name in {"ring-1", "cache-1"}:  # the compressor is not ours
        now, then = lzma.decompress(now), lzma.decompress(then)
    assert now == then


def test_a_hint() -> None:
    assert hot.decode(golden("hot-1")) == RANGES


def test_a_box() -> None:
    body = CODER.open(KEY, golden("box-1"))
    assert checkpoint.decode_manifest(body, uuid=UUID) == MANIFEST


def test_a_configuration() -> None:
    assert serve.parse(golden("disk-json-1").decode()) == CONFIG


@pytest.mark.parametrize("name", SLOTS)
def test_a_slot_of_a_record(name: str) -> None:
    assert Slot.unsealed("disks/x", 3, golden(name)) == SLOTS[name]


def test_whose_log_it_is_and_what_of_it_was_sent() -> None:
    files = small_log()
    files.put("binding.json", golden("binding-1"))
    files.put("sent", golden("sent-1"))
    assert binding_of(files, "uuid") == BINDING
    assert not LocalLog(files, BINDING, 8).holds_unsent()
    files.remove("sent")
    assert LocalLog(files, BINDING, 8).holds_unsent()


@pytest.fixture
def memory() -> Iterator[int]:
    found = os.memfd_create("golden")
    os.pwrite(found, lzma.decompress(golden("ring-1")), 0)
    yield found
    os.close(found)


def test_a_ring_of_an_earlier_server(memory: int) -> None:
    found = Ring(memory)
    assert (found.slots, found.connection, found.negotiated) == (2, 0xC0FFEE, AGREED)
    assert found.taken() == [1]
    taken = wire.header(found.slot(1))
    assert (taken.opcode, taken.unique) == (wire.Opcode.READ, 12)


@pytest.mark.parametrize("place", range(20))
def test_a_ring_of_another_layout_is_refused(memory: int, place: int) -> None:
    before = os.pread(memory, 1, place)
    os.pwrite(memory, bytes([before[0] ^ 4]), place)
    with pytest.raises(Damaged, match="ring of requests"):
        Ring(memory)


@pytest.mark.parametrize("length", [0, 100, 4096, 4097, 1 << 20])
def test_a_ring_that_is_cut_short_is_refused(memory: int, length: int) -> None:
    os.ftruncate(memory, length)
    with pytest.raises(Damaged, match="ring of requests"):
        Ring(memory)


def test_a_cache_of_an_earlier_server(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(lzma.decompress(golden("cache-1")))
    shutil.copy(HERE / "cache-table-1", tmp_path / "cache.table")
    cache = Cache(tmp_path / "cache", LINES)
    assert cache.get("data/x", 7) == BLOCK * 16
    assert (cache.get("data/y", 0) or b"")[:4096] == BLOCK
    assert cache.get("data/y", 1) is None
    cache.close()


if __name__ == "__main__":
    for name, make in FILES.items():
        if not (HERE / name).exists():
            (HERE / name).write_bytes(make())
