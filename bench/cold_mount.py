"""How long a node that has nothing needs to open a large volume, and how much memory that takes.

A synthetic store in memory that answers after `--latency` ms, with `--rate` MB/s a request:
a disk of 100 GiB of which 20 GiB are written, in runs of 64 KiB all over it, in 2,560 data
objects of 8 MiB; a checkpoint, and `--records` log records behind it. Measured: opening (head,
checkpoint, replay, fence, local log), then reading what mounting a file system reads: the first
MiB, and 64 KiB in each of 30 places. The same without latency tells what is computation. Then all
regions, for memory. Run: python -m bench.cold_mount [--json] [--gib 100] [--written 20]
"""

import argparse
import json
import random
import resource
import tempfile
import time
import zlib
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from backends.disk.core import checkpoint
from backends.disk.core.blockmap import StoredObject
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.commit import Commit, Extent, Kind
from backends.disk.core.head import Heads
from backends.disk.core.history import Held, Owner, Tail
from backends.disk.core.naming import checkpoint_name
from backends.disk.core.regions import REGION, Region
from backends.disk.engine import Disk
from backends.disk.log.logfiles import LogFiles
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.reading.cache import Cache
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore

UUID = "0d1e2f30-0000-4000-8000-000000000001"
_OBJECT, _RUN = 2048, 16
_ZERO = zlib.crc32(bytes(4096))
_OWNER = Owner(1 << 20, bytes(16), "gone")
_SEQ = 5000
_PLACES = 30


class Distant(MemoryStore):
    """Answers late. Data objects hold zeros, and no memory."""

    def __init__(self, latency: float, rate: float) -> None:
        super().__init__()
        self.latency, self.rate, self.asked = latency, rate, 0

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._late(super().get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        if "/log/" in key:
            return self._late(super().get(key)[start : start + length])
        return self._late(bytes(length))

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        self._late(body)
        super().put_if_absent(key, body)

    def list(self, prefix: str, after: str = "") -> list:  # type: ignore[type-arg]
        """See Store."""
        self._late(b"")
        return super().list(prefix, after)

    def _late(self, body: bytes) -> bytes:
        self.asked += 1
        if self.latency:
            time.sleep(self.latency + len(body) / self.rate)
        return body


@dataclass(frozen=True)
class Scale:
    """GiB of the disk, GiB written, records behind the checkpoint."""

    gib: int
    written: int
    records: int


def made(store: Distant, scale: Scale) -> None:
    """Put the synthetic disk into the store, as if it had been there always."""
    late, store.latency = store.latency, 0.0
    heads = Heads(StoreRecords(store))
    heads.create(UUID, scale.gib << 30)
    count = (scale.written << 30) // 4096 // _OBJECT
    objects = {
        number: StoredObject(f"data/{number:016x}", 100, _OBJECT, 1, _OBJECT)
        for number in range(1, count + 1)
    }
    name, keys = checkpoint_name(_SEQ, _OWNER.epoch, bytes(8)), {}
    for index, region in enumerate(regions(scale, count)):
        keys[index] = f"{name}/{index:08x}"
        body = checkpoint.encode_region(UUID, index, _SEQ, region)
        store.put(f"disks/{UUID}/{keys[index]}", body)
    tail = Tail(_SEQ, bytes(32), (Held(_OWNER.epoch, _OWNER.session, _OWNER.node, 0),))
    manifest = Manifest(UUID, tail, count + 1, keys, objects)
    store.put(f"disks/{UUID}/{name}/manifest", manifest.encode())
    head = heads.take(UUID, claim=1, session=_OWNER.session, node=_OWNER.node)
    owner = replace(_OWNER, epoch=head.epoch)
    heads.change(
        *(UUID, owner),
        lambda head: replace(head, checkpoint=f"{name}/manifest", checkpoint_seq=_SEQ),
    )
    for record in records(tail, scale, count + 1):
        store.put(f"disks/{UUID}/{record.key}", record.encode())
    store.latency = late


def regions(scale: Scale, count: int) -> Iterator[Region]:
    """Runs of every object, spread over the whole disk."""
    runs = [(number, run) for number in range(1, count + 1) for run in range(_OBJECT // _RUN)]
    random.Random(5).shuffle(runs)
    each = len(runs) // scale.gib
    for index in range(scale.gib):
        region = Region(REGION)
        slots = random.Random(index).sample(range(REGION // _RUN), each)
        for slot, (number, run) in zip(slots, runs[index * each : (index + 1) * each], strict=True):
            at = number << 20 | run * _RUN
            region.fill(slot * _RUN, _RUN, at, array("I", [_ZERO] * _RUN))
        yield region


def records(tail: Tail, scale: Scale, number: int) -> Iterator[Commit]:
    """What was written since the checkpoint: 16 blocks each, near each other."""
    for count in range(scale.records):
        record = Commit(
            seq=tail.seq + 1,
            kind=Kind.DATA,
            epoch=_OWNER.epoch,
            session=_OWNER.session,
            put_id=count.to_bytes(16, "big"),
            previous=tail.hash,
            uuid=UUID,
            node=_OWNER.node,
            first_object=number + count,
            extents=(Extent(1000 + 16 * count, 16, -2, 0),),
            checksums=array("I", [_ZERO] * 16),
            inline=bytes(16 * 4096),
        )
        tail = tail.after(record)
        yield record


def opened(store: Distant, home: Path, pool: ThreadPoolExecutor, early: ThreadPoolExecutor) -> Disk:
    """As the server of a node that never had it."""
    ids = iter(range(1, 1 << 30))
    place = Place(
        store=store,
        heads=Heads(StoreRecords(store)),
        files=LogFiles(home / "log"),
        orphan=lambda binding: LogFiles(home / "log"),
        cache=lambda: Cache(home / "cache", 1 << 30),
        node="cold",
        boot="boot",
        new_id=lambda: next(ids).to_bytes(16, "big"),
        clock=time.monotonic,
        wait=lambda count: time.sleep(0.1),
        readers=pool,
        early=early,
    )
    return open_disk(place, UUID, claim=2, terms=Terms(segment=1 << 20))


def resident() -> float:
    """MiB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def measure(scale: Scale, latency: float, rate: float) -> dict[str, float]:
    """Seconds and MiB."""
    store = Distant(latency, rate)
    made(store, scale)
    size, base = scale.gib << 30, resident()
    pools = ThreadPoolExecutor(8), ThreadPoolExecutor(4)
    with pools[0], pools[1], tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        disk = opened(store, Path(home), *pools)
        opening, asked = time.perf_counter() - began, store.asked
        disk.read(0, 1 << 20)
        for place in range(1, _PLACES + 1):
            disk.read(size // (_PLACES + 1) * place // 65536 * 65536, 65536)
        mounting = time.perf_counter() - began - opening
        touched = len(disk.parts.journal.map.regions)
        store.latency = 0.0
        assert disk.parts.journal.early is not None
        disk.parts.journal.early.end()
        some = resident()
        for index in range(scale.gib):
            disk.parts.journal.load_regions(index * REGION, 1)
        every = resident()
        more = scale.gib - touched
    return {
        "open, s": round(opening, 2),
        "requests to open": asked,
        "first reads, s": round(mounting, 2),
        "regions touched": touched,
        "memory of the opened disk, MiB": round(some - base, 1),
        "MiB per GiB touched": round((every - some) / more, 2) if more else 0.0,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("gib", 100), ("written", 20), ("records", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--latency", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    scale = Scale(chosen.gib, chosen.written, chosen.records)
    found = {
        f"{latency:g} ms": measure(scale, latency / 1000, chosen.rate * 1e6)
        for latency in (0.0, chosen.latency)
    }
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(f"store that answers after {name}")
        for what, value in row.items():
            print(f"  {what:32} {value}")


if __name__ == "__main__":
    main()
