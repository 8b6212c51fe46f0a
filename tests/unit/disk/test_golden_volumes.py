"""Whole volumes as released versions left them: a bucket, and the log of the node that died. Every
later version opens, reads, checks and dumps them.

`python -m tests.unit.disk.test_golden_volumes` writes files that are missing, and replaces none.
"""

import base64
import itertools
import json
import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backends.base import Level
from backends.disk.core import pins
from backends.disk.core.ciphers import Cipher, wrap
from backends.disk.core.coding import PLAIN, Coder, Compression
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.inspection.checking import Inspector
from backends.disk.inspection.dump import dump
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.snapshots.cloning import clone_disk
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import KEY, UUID, NoCache, content

HERE = Path(__file__).parent / "golden"
CLONE = "0d1e2f30-0000-4000-8000-000000000009"
BLOCKS = 2048
CODERS = {
    "plain": PLAIN,
    "zstd-boxed": Coder(Compression.ZSTD, Cipher(KEY[::-1])),
    "lz4": Coder(Compression.LZ4),
}
VERSIONS = (1, 2)
"""Of the whole: 2 has a local log of version 2."""
NAMES = [f"volume-{version}-{name}" for version in VERSIONS for name in CODERS]


def coder_of(name: str) -> Coder:
    return CODERS[name.split("-", 2)[2]]


def place(store: MemoryStore, files: MemoryFiles, coder: Coder, boot: str, ids: Any) -> Place:
    heads = Heads(StoreRecords(store, nonce=lambda: f"{next(ids):016x}"))
    return Place(
        store=store,
        heads=heads,
        files=files,
        orphan=lambda binding: MemoryFiles(),
        cache=NoCache,
        node="one",
        boot=boot,
        new_id=lambda: next(ids).to_bytes(16, "big"),
        clock=lambda: 0.0,
        wait=lambda count: None,
        coder=coder,
    )


def opened(where: Place, uuid: str = UUID, claim: int = 1) -> Disk:
    return open_disk(where, uuid, claim=claim, terms=Terms(segment=1 << 18, segments=4))


def written(disk: Disk, stamps: list[int], first: int, count: int, stamp: int) -> None:
    disk.write(first * 4096, content(stamp) * count, stamp)
    stamps[first : first + count] = [stamp] * count


def made(name: str) -> dict[str, Any]:
    """A volume with a past: a snapshot, a clone, holes, collected objects, a checkpoint, records
    behind it, and writes of which the bucket knows nothing."""
    store, files, coder, ids = MemoryStore(), MemoryFiles(), coder_of(name), itertools.count(1)
    where, stamps = place(store, files, coder, "first", ids), [0] * BLOCKS
    wrapped = wrap(KEY, KEY[::-1]) if coder.cipher else ""
    where.heads.create(UUID, BLOCKS * 4096, key_name="k" if wrapped else "", wrapped_key=wrapped)
    disk = opened(where)
    disk.parts.collector._grace = 0.0
    for first, count, stamp in ((0, 30, 1), (100, 40, 2), (10, 5, 3)):
        written(disk, stamps, first, count, stamp)
        disk.ship()
    disk.pin(pins.snapshot("kept", "2026-02-03T04:05:06Z", "call"))
    then = list(stamps)
    clone_disk(
        *(store, where.heads, UUID, "kept"),
        uuid=CLONE,
        size=BLOCKS * 4096,
        new_id=where.new_id,
        coder=coder,
    )
    written(disk, stamps, 5, 20, 4)
    disk.discard(110 * 4096, 8 * 4096)
    stamps[110:118] = [0] * 8
    disk.ship()
    disk.tend(commits=1)
    written(disk, stamps, 2000, 3, 5)
    disk.ship()
    sent = list(stamps)
    written(disk, stamps, 2001, 1, 6)
    disk.flush()
    return {
        "objects": {key: coded(body) for key, body in store.objects.items()},
        "files": {key: coded(files.read(key)) for key in files.names()},
        "stamps": runs(stamps),
        "sent": runs(sent),
        "then": runs(then),
    }


def coded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def runs(stamps: list[int]) -> list[list[int]]:
    return [[stamp, len(list(same))] for stamp, same in itertools.groupby(stamps)]


def image(found: list[list[int]]) -> bytes:
    return b"".join(content(stamp) * count for stamp, count in found)


def read(disk: Disk) -> bytes:
    return bytes(disk.read(0, BLOCKS * 4096))


def dumped(store: MemoryStore, uuid: str, snapshot: str = "") -> bytes:
    objects = store.objects
    found = dict(dump(list(objects), objects.__getitem__, uuid, snapshot, KEY))
    return b"".join(found.get(block, bytes(4096)) for block in range(BLOCKS))


@pytest.mark.parametrize("name", NAMES)
def test_a_volume_of_an_earlier_version_is_opened(name: str) -> None:
    golden = json.loads(lzma.decompress((HERE / f"{name}.json.xz").read_bytes()))
    store, files, coder = MemoryStore(), MemoryFiles(), coder_of(name)
    for key, body in golden["objects"].items():
        store.put(key, base64.b64decode(body))
    for key, body in golden["files"].items():
        files.put(key, base64.b64decode(body))
    assert dumped(store, UUID) == image(golden["sent"])
    assert dumped(store, UUID, "kept") == dumped(store, CLONE) == image(golden["then"])
    where = place(store, files, coder, "second", itertools.count(1 << 40))
    with ThreadPoolExecutor(2) as pool:
        inspector = Inspector(store, lambda: where.heads.read(UUID), coder, where.wait, pool)
        assert [one.level for one in inspector.check(lambda done, total: None)] == [Level.OK]
    disk = opened(where, claim=2)
    assert read(disk) == image(golden["stamps"]), "what its node had and never sent is missing"
    disk.close()
    assert dumped(store, UUID) == image(golden["stamps"])
    assert dumped(store, UUID, "kept") == image(golden["then"])
    there = place(store, MemoryFiles(), coder, "second", itertools.count(1 << 50))
    assert read(opened(there, CLONE)) == image(golden["then"])


if __name__ == "__main__":
    for name in NAMES:
        path = HERE / f"{name}.json.xz"
        if not path.exists():
            path.write_bytes(lzma.compress(json.dumps(made(name)).encode(), preset=9))
