"""The store is away for a while: everybody waits, nobody fails, nothing is lost."""

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from backends.disk.core.head import Heads
from backends.disk.engine import Disk, Durability
from backends.disk.opening import Place, Terms, open_disk
from backends.disk.worker import Worker
from backends.records.store import StoreRecords
from backends.stores.faulty import Faults, FaultyStore
from backends.stores.memory import MemoryStore
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.world import BLOCKS, UUID, NoCache, content, small_sizes

SEGMENT, SEGMENTS = 56 * 1024, 4
PATIENCE = 60.0


class Lab:
    """A disk with its worker, on a store that can be away."""

    def __init__(self, rpo: float = 0.01) -> None:
        self.inner = MemoryStore()
        self.store = FaultyStore(self.inner, random.Random(1), Faults())
        Heads(StoreRecords(self.inner)).create(UUID, BLOCKS * 4096)
        self.count = 0
        self.complaints: list[str] = []
        self.files = MemoryFiles()
        self.disk = self.open("one", 1, self.files)
        self.worker = self.work(rpo)

    def work(self, rpo: float) -> Worker:
        made = Worker(
            self.disk,
            rpo=rpo,
            clock=time.monotonic,
            complain=lambda what, error: self.complaints.append(f"{what}: {error}"),
        )
        made.start()
        return made

    def open(self, node: str, claim: int, files: MemoryFiles | None = None) -> Disk:
        place = Place(
            store=self.store,
            heads=Heads(StoreRecords(self.store)),
            files=files or MemoryFiles(),
            orphan=lambda binding: MemoryFiles(),
            cache=NoCache,
            node=node,
            boot="boot",
            new_id=self.new_id,
            clock=time.monotonic,
            wait=lambda count: time.sleep(0.005),
        )
        return open_disk(place, UUID, claim=claim, terms=Terms(segment=SEGMENT, segments=SEGMENTS))

    def new_id(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(16, "big")

    def away(self, away: bool) -> None:
        self.store.faults = Faults(lost_request=1.0 if away else 0.0)

    def end(self) -> None:
        self.away(False)
        self.worker.stop()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with small_sizes():
        made = Lab()
        yield made
        made.end()


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.005)


def begun(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, failed


def test_store_outage_makes_writers_wait_and_nothing_fails(lab: Lab) -> None:
    lab.away(True)
    done = [0]

    def write() -> None:
        for number in range(400):
            lab.disk.write(number % BLOCKS * 4096, content(number + 1), 0)
            done[0] += 1

    thread, failed = begun(write)
    until(lambda: lab.disk.pressed > 0)
    stuck = done[0]
    assert 10 < stuck < SEGMENT * SEGMENTS // 4096
    assert len(lab.disk.parts.overlay) <= 2 * BLOCKS  # one batch on its way, and one behind it
    assert lab.disk.read(0, 4096) != bytes(4096)
    lab.disk.flush()
    until(lambda: "503" in lab.disk.parts.journal.trouble)
    assert thread.is_alive()
    lab.away(False)
    thread.join(PATIENCE)
    assert not failed
    assert not lab.complaints
    assert done[0] == 400
    lab.worker.stop()
    lab.disk.close()
    assert lab.disk.parts.journal.trouble == ""
    other = lab.open("two", 2)
    found = other.read(0, BLOCKS * 4096)
    assert found == b"".join(content(n + 1) for n in range(360, 400))


def test_writers_that_wait_for_room_sleep(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them do not wake each other: an hour of outage costs no processor."""
    lab.away(True)
    looked, room = [0], lab.disk.parts.log.room

    def counted(length: int) -> bool:
        looked[0] += 1
        return room(length)

    monkeypatch.setattr(lab.disk.parts.log, "room", counted)

    def write() -> None:
        for number in range(200):
            lab.disk.write(number % BLOCKS * 4096, content(number + 1), 0)

    writers = [begun(write) for _ in range(3)]
    until(lambda: lab.disk.pressed == len(writers))
    until(lambda: "503" in lab.disk.parts.journal.trouble)
    before = looked[0]
    time.sleep(0.2)
    assert looked[0] - before < 20
    lab.away(False)
    for thread, failed in writers:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not failed


def test_store_outage_keeps_a_flush_to_the_store_waiting(lab: Lab) -> None:
    lab.disk.durability = Durability.STORE
    lab.disk.write(0, content(1), 0)
    lab.away(True)
    lab.disk.write(4096, content(2), 0)
    thread, failed = begun(lab.disk.flush)
    thread.join(0.2)
    assert thread.is_alive(), "a flush was acknowledged that is nowhere but here"
    lab.away(False)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not failed
    assert lab.open("two", 2).read(0, 8192) == content(1) + content(2)


def test_store_outage_keeps_a_read_waiting(lab: Lab) -> None:
    lab.disk.write(0, content(7), 0)
    until(lambda: not lab.disk.parts.overlay)
    lab.away(True)
    found: list[bytes] = []
    thread, failed = begun(lambda: found.append(bytes(lab.disk.read(0, 4096))))
    thread.join(0.1)
    assert thread.is_alive()
    lab.away(False)
    thread.join(PATIENCE)
    assert (found, failed) == ([content(7)], [])


def test_throttled_store_is_slow_and_nothing_else(lab: Lab) -> None:
    lab.store.faults = Faults(lost_request=0.7, lost_reply=0.2)
    for number in range(120):
        lab.disk.write(number % BLOCKS * 4096, content(number + 1), 0)
    lab.disk.flush()
    lab.away(False)
    until(lambda: not lab.disk.parts.overlay)
    assert not lab.complaints
    expected = b"".join(content(n + 1) for n in range(80, 120))
    assert lab.open("two", 2).read(0, BLOCKS * 4096) == expected


def test_a_full_log_is_shipped_at_once_however_long_the_rpo_is() -> None:
    """The same block over and over: little to ship, and yet no room."""
    with small_sizes():
        lab = Lab(rpo=3600.0)
        try:

            def write() -> None:
                for number in range(1, 200):
                    lab.disk.write(0, content(number), 0)

            thread, failed = begun(write)
            thread.join(PATIENCE)
            assert not thread.is_alive()
            assert not failed
        finally:
            lab.end()


def test_what_a_killed_server_left_does_not_wait_for_the_rpo_again() -> None:
    """A server that is killed again and again, sooner than it would ship, must not keep for itself
    for ever what was confirmed long ago."""
    with small_sizes():
        lab = Lab(rpo=3600.0)
        lab.disk.write(0, content(5), 0)
        lab.worker.stop()
        lab.disk = lab.open("one", 1, lab.files)  # its successor; what was open before was killed
        lab.worker = lab.work(3600.0)
        try:
            assert lab.disk.parts.overlay
            until(lambda: not lab.disk.parts.overlay)
            lab.disk.write(0, content(6), 0)
            time.sleep(0.3)
            assert lab.disk.parts.overlay, "what is new waits as long as it may"
        finally:
            lab.end()
