"""A disk in an S3 bucket, put together for its server process: `open_remote` is its factory.

The one module here that touches clock, randomness and the machine; everything it makes is handed
them. Arguments come from the service as JSON and hold no secret.
"""

import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.disk import losses
from backends.disk.collection.collecting import GRACE
from backends.disk.core import pins
from backends.disk.core.head import Heads
from backends.disk.core.tenure import Moment
from backends.disk.engine import CHECKPOINT_EVERY, Disk, Durability
from backends.disk.inspection.scrubbing import Scrubber
from backends.disk.log.locallog import Binding
from backends.disk.log.logfiles import LogFiles
from backends.disk.log.orphaned import branch_name, orphan_name
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.pausing import Pause, pause_before
from backends.disk.reading.cache import Cache
from backends.disk.reading.warming import Warming
from backends.disk.unlocking import coder_of
from backends.disk.worker import Worker
from backends.errors import Invalid, KedgeError, Unavailable
from backends.host import memory
from backends.records.store import StoreRecords
from backends.stores.base import Store
from backends.stores.bucket import Bucket, bucket_objects, make_ready, retrying
from backends.stores.counting import Counting
from backends.stores.easing import Easing, Gate
from backends.stores.hedging import Hedging

LAST_SECONDS = 8.0
"""For a disk that is broken, to send what is left of its log when it is closed: whoever unmounts it
waits for `CLOSE_SECONDS`."""
_TURN = 1.0
"""Seconds for whoever was told to give up to do so."""
_SEGMENT = 32 << 20
_UPLOADS = 4
_READERS = 8
_BACKGROUND = 4
_WARMERS = 2
_EARLY = 4
_YOUNG = 30.0
"""Seconds after which nobody mounts any more: what of the map was fetched for that is let go."""
_REQUESTS = 32
"""Threads in which reads are asked of the store, twice if need be."""


@dataclass(frozen=True)
class Arguments:
    """What the service tells the server of a disk."""

    bucket: Bucket
    uuid: str
    node: str
    directory: str
    """Of this disk on this node: local log, cache, orphans."""
    claim: int
    connection: int = 0
    """Added by the server."""
    durability: str = "local"
    rpo: float = 1.0
    rpo_limit: float = 0.0
    trust: float = 0.0
    """For strict reads: seconds for which they go by what the store last said."""
    scrub: float = 60.0
    compress: str = "none"
    keys: str = ""
    """The directory of the profile's keys: this process reads the one that it needs by itself."""
    log_bytes: int = 1 << 30
    cache_bytes: int = 1 << 30
    grace: float = GRACE
    """Seconds between the end of an object's use and its deletion."""


class RemoteDisk(Disk):
    """A Disk with its worker, as the server wants it: Commanded and Growable."""

    worker: Worker
    heads: Heads
    warming: Warming
    scrubber: Scrubber
    requests: Counting
    opened: float
    taken_over: str
    """What may have been lost with the node that had it before; empty: nothing."""
    pools: tuple[ThreadPoolExecutor, ...]
    pause: Pause
    """What everybody waits with who asks the store again."""

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """See BlockDevice."""
        self.warming.reading(offset // 4096, length // 4096)
        return super().read(offset, length)

    def tend(
        self, *, commits: int = CHECKPOINT_EVERY, hurried: Callable[[], bool] = lambda: False
    ) -> None:
        """See Disk."""
        super().tend(commits=commits, hurried=hurried)
        if self.parts.journal.early and time.monotonic() - self.opened > _YOUNG:
            self.parts.journal.early.end()
        self.warming.keep()
        self.scrubber.step()

    def resize(self, size: int) -> None:
        """See Growable."""
        self.heads.grow(self.parts.journal.uuid, size)
        super().resize(size)

    def close(self) -> None:
        """See BlockDevice. One that is broken has a moment to send what can still be read of its
        log; what it could not is kept there, for whoever mounts the volume on this node."""
        broken = self._broken is not None
        last = threading.Thread(target=self._send_last, daemon=True)
        last.start()
        last.join(LAST_SECONDS if broken else None)
        if broken:
            self.pause.give_up()
            last.join(_TURN)
        self.warming.end()
        try:
            super().close()
            if self._broken is None:
                self.heads.let_go(self.parts.journal.uuid, self.parts.journal.owner)
        except KedgeError as error:
            _complain("closing", error)
        if self.dirty_since is not None:
            kept = f"{len(self.parts.overlay) * 4096} bytes that never reached the store"
            _complain("closing", Unavailable(f"{kept} are kept in the local log of this node"))
        for pool in self.pools:  # who waits for a task that is cancelled here may wait for ever
            pool.shutdown(wait=False, cancel_futures=True)

    def _send_last(self) -> None:
        try:
            self.worker.stop()
            self.rescue()
        except KedgeError as error:
            _complain("rescuing what the local log holds", error)

    def command(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`lag`: what is not in the store yet, and how it goes. `settle`: send it, unless it is
        little. `snapshot`: send it and pin it; how large the disk is there."""
        if verb == "settle":
            self.settle()
            return {}
        if verb == "snapshot":
            asked = {key: str(arguments[key]) for key in ("name", "created", "call")}
            return {"size": pins.found(self.pin(pins.snapshot(**asked)), asked["name"]).size}
        if verb != "lag":
            raise Invalid(f"a disk knows no command {verb!r}")
        since, journal = self.dirty_since, self.parts.journal
        with journal.lock:
            objects, stored = len(journal.map.objects), journal.map.stored()
        return {
            "bytes": len(self.parts.overlay) * 4096,
            "seconds": round(time.monotonic() - since, 1) if since is not None else 0.0,
            "flushes_wait": round(self.parts.exposure.waits.longest, 1),
            "reads_wait": round(self.parts.tenure.waits.longest, 1),
            "commit": journal.tail.seq,
            "epoch": journal.owner.epoch,
            "objects": objects,
            "stored": stored,
            "shipped": self.parts.shipper.bytes,
            "cached": self.parts.cache.used(),
            "requests": self.requests.per_minute(),
            "hits": self.parts.cache.hits,
            "misses": self.parts.cache.misses,
            "damaged": list(self.parts.reader.damaged),
            "scrubbed": self.scrubber.looked,
            "trouble": journal.trouble or self.worker.last_error,
            "taken_over": self.taken_over,
        }


def open_remote(raw: Mapping[str, Any]) -> RemoteDisk:
    """The device of one volume; see `serve.py`. Fenced, NotFound, Damaged, Unavailable."""
    arguments = Arguments(**{**raw, "bucket": Bucket(**raw["bucket"])})
    directory = Path(arguments.directory)
    uploads, readers, background, warmers, early, requests = pools = _pools()
    counting, gate = (
        Counting(bucket_objects(arguments.bucket), time.monotonic),
        Gate(time.monotonic),
    )
    store, last = _eased(Hedging(counting, requests, time.monotonic), gate)
    heads = Heads(StoreRecords(store, remember=True))
    head = heads.read(arguments.uuid)
    coder = coder_of(head, arguments.keys, arguments.compress)
    place = Place(
        store=store,
        heads=heads,
        files=LogFiles(directory / "log"),
        orphan=lambda binding: _aside(directory, binding),
        cache=lambda: Cache(_made(directory) / "cache", arguments.cache_bytes),
        node=arguments.node,
        boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        new_id=random_id,
        clock=time.monotonic,
        wait=(waits := Pause()),
        moment=_moment,
        pool=uploads,
        readers=readers,
        background=background,
        early=early,
        coder=coder,
        last=last,
        strained=gate.strained,
    )
    terms = _terms(arguments)
    disk = open_disk(place, arguments.uuid, claim=arguments.claim, terms=terms, known=head)
    found = RemoteDisk(
        disk.parts,
        durability=terms.durability,
        connection=terms.connection,
        clock=time.monotonic,
    )
    found.heads, found.pools, found.requests, found.pause = heads, pools, counting, waits
    found.opened = time.monotonic()
    found.taken_over = _taken_over(found, store, head.node)
    found.warming = Warming(
        *(found, disk.parts.journal, last, warmers), clock=time.monotonic, new_id=random_id
    )
    _begin(found, last, arguments)
    return found


def _begin(disk: RemoteDisk, last: Store, arguments: Arguments) -> None:
    """From here on it does things by itself."""
    rpo, parts = arguments.rpo, disk.parts
    disk.warming.begin()
    disk.scrubber = Scrubber(
        *(parts.journal, last, parts.reader), every=arguments.scrub, clock=time.monotonic
    )
    disk.worker = Worker(
        disk, rpo=rpo, clock=time.monotonic, complain=_complain, rest=memory.give_back
    )
    disk.worker.start()


def _terms(arguments: Arguments) -> Terms:
    return Terms(
        durability=Durability(arguments.durability),
        rpo_limit=arguments.rpo_limit,
        trust=arguments.trust,
        segment=_SEGMENT,
        segments=max(4, arguments.log_bytes // _SEGMENT),
        connection=arguments.connection & 0xFFFFFFFF,
        grace=arguments.grace,
    )


def _taken_over(disk: Disk, store: Store, node: str) -> str:
    parts = disk.parts
    if not parts.lost_after:
        return ""
    words = losses.told(parts.journal, store, node, parts.lost_after, disk.durability)
    print(f"opening: {words}", file=sys.stderr, flush=True)
    return words


def _pools() -> tuple[ThreadPoolExecutor, ...]:
    """Whoever waits for a task is never in the pool that has to do it: see the order."""
    counts = {
        "upload": _UPLOADS,
        "read": _READERS,
        "ahead": _BACKGROUND,
        "warm": _WARMERS,
        "early": _EARLY,
        "request": _REQUESTS,
    }
    return tuple(ThreadPoolExecutor(n, thread_name_prefix=name) for name, n in counts.items())


def prepare(raw: Mapping[str, Any]) -> None:
    """Make ready for `open_remote` what takes time and needs no disk."""
    make_ready(Bucket(**raw["bucket"]))


def _eased(inner: Store, gate: Gate) -> tuple[Store, Store]:
    """The store for what somebody waits for, and for what nobody does."""
    first, last = (retrying(Easing(inner, gate, last=one)) for one in (False, True))
    return first, last


def pause(count: int) -> None:
    """Wait before asking a store for the `count`-th time again."""
    time.sleep(pause_before(count))


def _moment() -> Moment:
    """A clock that goes on while the machine sleeps, and the one that is set when a machine was
    paused from outside, which stops all others."""
    return time.clock_gettime(time.CLOCK_BOOTTIME), time.time()


def random_id() -> bytes:
    """16 bytes that nothing else ever had."""
    return secrets.token_bytes(16)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _aside(directory: Path, binding: Binding) -> LogFiles:
    """Keep a log that the disk's history has passed by."""
    kept = directory / orphan_name(branch_name(binding))
    (directory / "log").rename(kept)
    _complain("opening", Unavailable(f"writes that never reached the store are kept in {kept}"))
    return LogFiles(directory / "log")


def _complain(what: str, error: Exception) -> None:
    print(f"{what}: {error}", file=sys.stderr, flush=True)
