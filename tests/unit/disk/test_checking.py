"""What is damaged in the bucket is found and named, and never read as anything else."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from backends.base import Finding, Level
from backends.disk import journal
from backends.disk.core import pins
from backends.disk.core.ciphers import Cipher, wrap
from backends.disk.core.coding import PLAIN, Coder, Compression
from backends.disk.core.head import Heads
from backends.disk.engine import Disk
from backends.disk.inspection import checking, exporting
from backends.disk.inspection.checking import Inspector
from backends.disk.inspection.dump import Unreadable, dump
from backends.disk.inspection.peeking import peek
from backends.disk.log.locallog import binding_of
from backends.disk.log.orphaned import branch
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.reading import reader
from backends.errors import Damaged, KedgeError, Unavailable
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import BLOCKS, KEY, UUID, NoCache, content, small_sizes

PARTS = [0, *(pytest.param(part, marks=pytest.mark.sim) for part in range(1, 5))]
"""Of the campaign's faults, every fifth where there is little time."""
PREFIX = f"disks/{UUID}/"
CODERS = {"plain": PLAIN, "boxed": Coder(Compression.ZSTD, Cipher(KEY))}


@dataclass
class Bucket:
    """A store with one disk in it, and what the disk holds."""

    coder: Coder = PLAIN
    store: MemoryStore = field(default_factory=MemoryStore)
    stamps: list[int] = field(default_factory=lambda: [0] * BLOCKS)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def heads(self) -> Heads:
        return Heads(StoreRecords(self.store))

    def open(self, files: MemoryFiles | None = None, claim: int = 1, node: str = "one") -> Disk:
        place = Place(
            store=self.store,
            heads=self.heads,
            files=files or MemoryFiles(),
            orphan=lambda binding: MemoryFiles(),
            cache=NoCache,
            node=node,
            boot="boot",
            new_id=lambda: next(self.ids).to_bytes(16, "big"),
            clock=lambda: 0.0,
            wait=patient,
            coder=self.coder,
        )
        return open_disk(place, UUID, claim=claim, terms=Terms(segment=56 * 1024, segments=8))

    def write(self, disk: Disk, first: int, count: int, stamp: int) -> None:
        disk.write(first * 4096, content(stamp) * count, 0)
        self.stamps[first : first + count] = [stamp] * count

    def check(self) -> list[Finding]:
        with ThreadPoolExecutor(2) as pool:
            inspector = Inspector(
                self.store, lambda: self.heads.read(UUID), self.coder, patient, pool
            )
            return inspector.check(lambda done, total: None)

    def spoiled(self, key: str, body: bytes | None) -> "Bucket":
        """A copy in which one object is another."""
        copy = Bucket(self.coder, MemoryStore(), self.stamps[:], itertools.count(1 << 40))
        copy.store.objects = {**self.store.objects, key: body or b""}
        if body is None:
            del copy.store.objects[key]
        return copy


def patient(count: int) -> None:
    if count > 2:
        raise Unavailable("gave up")


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_sizes():
        yield


@pytest.fixture(params=CODERS)
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """Inline blocks, data objects, a snapshot, checkpoints old and new; closed."""
    coder = CODERS[request.param]
    made = Bucket(coder)
    box = wrap(KEY, KEY) if coder.cipher else ""
    made.heads.create(UUID, BLOCKS * 4096, key_name="k" if box else "", wrapped_key=box)
    disk = made.open()
    made.write(disk, 0, 10, 1)
    disk.ship()
    made.write(disk, 12, 2, 2)
    disk.ship()
    disk.tend(commits=1)
    made.heads.update(UUID, pins.snapshot("kept", "then", "call"))
    made.write(disk, 8, 6, 3)
    made.write(disk, 30, 9, 4)
    disk.ship()
    made.write(disk, 20, 1, 5)
    disk.close()
    return made


def image(bucket: Bucket) -> bytes:
    return b"".join(content(stamp) for stamp in bucket.stamps)


def test_a_whole_disk_is_called_whole(bucket: Bucket) -> None:
    (found,) = bucket.check()
    assert found.level is Level.OK
    assert "1 snapshots are whole" in found.detail


def faults(bucket: Bucket) -> Iterator[tuple[str, str, bytes | None]]:
    """Every object of the disk, spoiled in every way: (what, key, bytes instead)."""
    objects = {k: v for k, v in bucket.store.objects.items() if k.startswith(PREFIX)}
    for key, body in objects.items():
        yield "missing", key, None
        yield "empty", key, b""
        yield "short", key, body[: len(body) // 2]
        yield "long", key, body + b"x"
        for place in sorted({0, 9, 40, 100, len(body) // 3, len(body) // 2, len(body) - 1}):
            if place < len(body):
                flipped = body[:place] + bytes([body[place] ^ 8]) + body[place + 1 :]
                yield f"flipped at {place}", key, flipped
        kind = key.removeprefix(PREFIX).split("/")[0]
        for other, theirs in objects.items():
            if other != key and other.startswith(PREFIX + kind):
                yield f"is {other}", key, theirs


@pytest.mark.parametrize("part", PARTS)
def test_no_damage_is_ever_read_as_data(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """The campaign: whatever is done to whichever object, each block reads as it was written or
    is an error, and what cannot be read was named before by the check."""
    silent = []
    for module in (journal, reader, checking):
        monkeypatch.setattr(module, "_REFETCH", 1)
    for what, key, body in itertools.islice(faults(bucket), part, None, 5):
        spoiled = bucket.spoiled(key, body)
        checked = spoiled.check()
        bad = unreadable(spoiled)
        named = any(f.level is Level.ERROR for f in checked)
        if bad and not named:
            silent.append((what, key, bad))
        if bad and named and not key.startswith(PREFIX + "ckpt"):
            short = key.rpartition("/")[2].lstrip("0") or "0"
            assert any(short in f"{f.subject} {f.detail}" for f in checked), (what, key, checked)
    assert not silent


@pytest.mark.parametrize("part", PARTS)
def test_no_damage_is_ever_dumped_as_data(bucket: Bucket, part: int) -> None:
    """The last resort, too, writes what was written, or says what it cannot read. The end of the
    log alone cannot be missed."""
    disk = bucket.open(claim=5)
    for stamp in (21, 22, 23):
        bucket.write(disk, 20, 1, stamp)
        disk.ship()
    last = max(key for key in bucket.store.objects if f"{PREFIX}log/" in key)
    every = [*faults(bucket), *head_faults(bucket)]
    for what, key, body in itertools.islice(every, part, None, 5):
        objects = bucket.spoiled(key, body).store.objects
        try:
            found = dict(dump(list(objects), objects.__getitem__, UUID, "", KEY))
        except Unreadable:
            continue
        assert (what, key) == ("missing", last) or image(bucket) == b"".join(
            found.get(block, bytes(4096)) for block in range(BLOCKS)
        ), (what, key)


def head_faults(bucket: Bucket) -> Iterator[tuple[str, str, bytes | None]]:
    """A flipped bit in every byte of the head, as it is now."""
    key = max(key for key in bucket.store.objects if key.startswith(f"records/disks/{UUID}/"))
    body = bucket.store.objects[key]
    for place in range(0, len(body), 3):
        flipped = body[:place] + bytes([body[place] ^ 8]) + body[place + 1 :]
        yield f"flipped at {place}", key, flipped


def test_a_duplicate_of_an_object_is_never_read_as_another(bucket: Bucket) -> None:
    """Under the name that comes next, or any other of its kind: it is no object of the disk, or it
    is damage with its name."""
    objects = [key for key in bucket.store.objects if key.startswith(PREFIX)]
    last = max(int(key.rpartition("/")[2], 16) for key in objects if f"{PREFIX}log/" in key)
    for key in objects:
        kind, _, name = key.removeprefix(PREFIX).partition("/")
        other = f"{last + 1:016x}" if kind == "log" else f"{name[:-1]}{int(name[-1], 36) ^ 1:x}"
        if (place := f"{PREFIX}{kind}/{other}") not in bucket.store.objects:
            spoiled = bucket.spoiled(place, bucket.store.objects[key])
            found = [one for one in spoiled.check() if one.level is Level.ERROR]
            assert bool(unreadable(spoiled)) is bool(found) is (kind == "log")
            assert all(f"log record {last + 1}" in one.detail for one in found)


def unreadable(bucket: Bucket) -> list[int]:
    """Blocks that are errors. Whoever finds a wrong byte fails."""
    try:
        disk = bucket.open(claim=2, node="two")
    except Damaged:
        return list(range(BLOCKS))
    bad = []
    for number in range(BLOCKS):
        try:
            assert disk.read(number * 4096, 4096) == content(bucket.stamps[number]), number
        except Damaged:
            bad.append(number)
    return bad


def test_a_spoiled_block_is_an_error_for_itself_alone(bucket: Bucket) -> None:
    """Of a frame, where they are coded together; and the check says which part of the volume."""
    key = next(k for k in bucket.store.objects if "/data/" in k and len(bucket.store.get(k)) > 300)
    body = bucket.store.get(key)
    spoiled = bucket.spoiled(key, body[:-1] + bytes([body[-1] ^ 1]))
    bad = unreadable(spoiled)
    assert 1 <= len(bad) <= 2
    errors = [f for f in spoiled.check() if f.level is Level.ERROR]
    assert errors
    assert f"bytes {bad[0] * 4096}-" in errors[0].detail
    assert "of the volume" in errors[0].detail


def test_a_hole_in_the_log_is_damage_and_not_its_end() -> None:
    bucket = Bucket()
    bucket.heads.create(UUID, BLOCKS * 4096)
    disk = bucket.open()
    for number in range(4):
        bucket.write(disk, number, 1, number + 1)
        disk.ship()
    key = f"{PREFIX}log/{3:016x}"
    spoiled = bucket.spoiled(key, None)
    before = dict(spoiled.store.objects)
    with pytest.raises(Damaged, match="lacks log record 3"):
        spoiled.open(claim=2, node="two")
    made = {k for k in spoiled.store.objects if k not in before and "/log/" in k}
    assert not made, "a fence was made in the gap"
    assert any("lacks log record 3" in f.detail for f in spoiled.check())


def test_what_is_collected_under_the_check_is_no_damage() -> None:
    bucket = Bucket()
    bucket.heads.create(UUID, BLOCKS * 4096)
    disk = bucket.open()
    bucket.write(disk, 0, 8, 1)
    disk.ship()

    class Later(MemoryStore):
        """The owner writes it anew, and collects, once the map was read."""

        def get(self, key: str) -> bytes:
            if "/data/" in key and key not in self.objects and not bucket.stamps[9]:
                bucket.write(disk, 0, 8, 2)
                bucket.stamps[9] = 99
                disk.ship()
                disk.tend(commits=1)
            return super().get(key)

    old = next(k for k in bucket.store.objects if "/data/" in k)
    later = Later()
    later.objects = bucket.store.objects
    del later.objects[old]
    with ThreadPoolExecutor(2) as pool:
        inspector = Inspector(later, lambda: bucket.heads.read(UUID), PLAIN, patient, pool)
        found = inspector.check(lambda done, total: None)
    assert not [f for f in found if old in f.subject]


class Sink:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.parts.append(data)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Told:
    last = (0, 0)

    def __call__(self, done: int, total: int) -> None:
        self.last = (done, total)


def test_a_disk_and_its_snapshots_are_exported(bucket: Bucket) -> None:
    head = bucket.heads.read(UUID)
    for snapshot in (None, "kept"):
        to, told = Sink(), Told()
        view = peek(bucket.store, head, bucket.coder, patient, snapshot=snapshot)
        size = exporting.export(bucket.store, view, to, told, wait=patient)
        assert size == len(to.body) == BLOCKS * 4096
        assert told.last == (size, size)
        stamps = bucket.stamps if snapshot is None else [1] * 10 + [0, 0, 2, 2] + [0] * 26
        assert to.body == b"".join(content(stamp) for stamp in stamps)
    assert bucket.heads.read(UUID) == head


def exported_orphan(bucket: Bucket, files: MemoryFiles) -> tuple[bytes, bool]:
    binding = binding_of(files, UUID)
    assert binding is not None
    found = branch(
        *(bucket.store, bucket.heads.read(UUID), bucket.coder, patient),
        files=files,
        binding=binding,
    )
    to = Sink()
    exporting.export(
        *(bucket.store, found.view, to, lambda done, total: None),
        wait=patient,
        over=found.over,
        unsent=lambda dirty: found.log.read(dirty.position, 4096),
    )
    return to.body, found.whole


@pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)
def test_the_branch_of_a_fenced_node_is_exported(coder: Coder) -> None:
    """As it would be if it had been sent; nothing of it is removed or changed by that."""
    bucket, files = Bucket(coder), MemoryFiles()
    bucket.heads.create(UUID, BLOCKS * 4096)
    disk = bucket.open(files)
    bucket.write(disk, 0, 8, 1)
    disk.ship()
    bucket.write(disk, 4, 2, 2)
    disk.discard(6 * 4096, 4096)
    bucket.stamps[6] = 0
    mine = image(bucket)
    other = bucket.open(claim=2, node="two")
    bucket.write(other, 0, 1, 7)
    other.ship()
    kept = {name: files.read(name) for name in files.names()}
    assert exported_orphan(bucket, files) == (mine, True)
    assert {name: files.read(name) for name in files.names()} == kept
    other.close()
    body, whole = exported_orphan(bucket, files)
    assert not whole
    lone = [1] * 4 + [2, 2, 0, 1] + [0] * 32
    assert body == b"".join(content(stamp) for stamp in lone)


def test_a_check_that_nobody_answers_is_no_damage() -> None:
    bucket = Bucket()
    bucket.heads.create(UUID, BLOCKS * 4096)

    class Away(MemoryStore):
        def get(self, key: str) -> bytes:
            raise Unavailable("away")

    with ThreadPoolExecutor(2) as pool:
        inspector = Inspector(Away(), lambda: bucket.heads.read(UUID), PLAIN, patient, pool)
        with pytest.raises(KedgeError):
            inspector.check(lambda done, total: None)
