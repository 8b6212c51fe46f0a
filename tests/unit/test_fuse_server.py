"""The server's threads and the ring, with a socket in the place of the kernel.

A sequenced-packet socket keeps message boundaries as /dev/fuse does. Its reader plays the kernel:
it knows which requests it still waits for, and the probe of a replaying server is answered by the
fake descriptor below.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from backends.disk.fuse import ring, wire
from backends.disk.fuse.ring import Ring
from backends.disk.fuse.server import End, Server
from backends.disk.fuse.testing import GatedDevice, MemoryDevice
from backends.disk.fuse.wire import Opcode
from backends.errors import Damaged
from tests.unit.test_fuse_answers import at
from tests.unit.test_fuse_wire import request

SIZE = 1 << 20
_SECONDS = 10.0


class Kernel:
    """The other side of a server: sends requests, collects answers."""

    def __init__(self, device: MemoryDevice, memory: int) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(_SECONDS)
        self.complaints: list[str] = []
        self.server = Server(
            self.theirs.fileno(),
            Ring(memory),
            device,
            lambda what, error: self.complaints.append(what),
        )
        self.end: End | None = None
        self.interval = 0.002
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> "Kernel":
        self._thread.start()
        return self

    def _serve(self) -> None:
        self.end = self.server.serve(self.interval, time.sleep)

    def send(self, opcode: int, body: bytes = b"", *, unique: int = 6) -> None:
        self.ours.send(request(opcode, body, unique=unique))

    def answer(self) -> tuple[int, int, bytes]:
        """The next answer: unique, error, body."""
        raw = self.ours.recv(2 << 20)
        _, error, unique = wire.OUT_HEADER.unpack_from(raw)
        return unique, error, raw[16:]

    def close(self) -> End | None:
        """Hang up; how the server took it."""
        self.ours.close()
        if self._thread.ident:
            self._thread.join(_SECONDS)
            self.server.join(_SECONDS)
        self.theirs.close()
        return self.end


def await_that(done: Callable[[], bool]) -> None:
    """Wait for another thread to get there."""
    until = time.monotonic() + _SECONDS
    while not done():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = ring.make(slots=4, connection=0xC0FFEE)
    yield descriptor
    os.close(descriptor)


def test_answers_and_ends_with_the_connection(memory: int) -> None:
    kernel = Kernel(MemoryDevice(SIZE), memory).start()
    kernel.send(Opcode.WRITE, at(4096, 4096) + b"y" * 4096, unique=8)
    assert kernel.answer() == (8, 0, wire.written(8, 4096)[16:])
    kernel.send(Opcode.READ, at(4096, 4096), unique=10)
    assert kernel.answer() == (10, 0, b"y" * 4096)
    assert kernel.close() is End.UNMOUNTED
    assert kernel.server.served() == {"write": 1, "read": 1}
    assert Ring(memory).taken() == []


def test_slow_requests_hold_up_no_others(memory: int) -> None:
    """Three reads wait, a write is answered; a fourth read takes the last slot."""
    device = GatedDevice(SIZE)
    kernel = Kernel(device, memory).start()
    for unique in (2, 4, 6):
        kernel.send(Opcode.READ, at(0, 4096), unique=unique)
    kernel.send(Opcode.WRITE, at(0, 4096) + b"z" * 4096, unique=8)
    assert kernel.answer()[0] == 8
    await_that(lambda: device.waiting == 3)
    device.gate.set()
    assert sorted(kernel.answer()[0] for _ in range(3)) == [2, 4, 6]
    kernel.close()


def test_more_slow_requests_than_slots_are_all_answered(memory: int) -> None:
    device = GatedDevice(SIZE)
    kernel = Kernel(device, memory).start()
    uniques = list(range(2, 42, 2))
    for unique in uniques:
        kernel.send(Opcode.READ, at(0, 4096), unique=unique)
    await_that(lambda: device.waiting == 4)
    device.gate.set()
    assert sorted(kernel.answer()[0] for _ in uniques) == uniques
    kernel.close()


def test_requests_known_as_slow_are_handed_over_at_once(memory: int) -> None:
    """The first slow read is noticed after two looks; the others need not be."""
    device = GatedDevice(SIZE)
    kernel = Kernel(device, memory)
    kernel.interval = 0.3
    kernel.start()
    for unique in (2, 4, 6, 8):
        kernel.send(Opcode.READ, at(0, 4096), unique=unique)
    await_that(lambda: device.waiting >= 2)
    began = time.monotonic()
    await_that(lambda: device.waiting == 4)
    assert time.monotonic() - began < 3 * kernel.interval
    device.gate.set()
    assert sorted(kernel.answer()[0] for _ in range(4)) == [2, 4, 6, 8]
    kernel.close()


def test_wakes_from_sleep(memory: int) -> None:
    """The watcher sleeps after a quiet while; a slow request then still gets a second leader."""
    device = GatedDevice(SIZE)
    kernel = Kernel(device, memory).start()
    time.sleep(0.1)
    kernel.send(Opcode.READ, at(0, 4096), unique=2)
    kernel.send(Opcode.WRITE, at(0, 4096) + bytes(4096), unique=4)
    assert kernel.answer()[0] == 4
    device.gate.set()
    assert kernel.answer()[0] == 2
    kernel.close()


def test_a_stopped_server_leaves_what_it_takes_in_the_ring(memory: int) -> None:
    device = MemoryDevice(SIZE)
    put(memory, 0, request(Opcode.WRITE, at(4096, 4096) + b"b" * 4096, unique=4))
    stopped, successor = Kernel(device, memory), Kernel(device, memory)
    stopped.server.stop()
    assert stopped.server.replay() == 1
    await_that(stopped.server.settled)
    assert device.uniques == []
    assert Ring(memory).taken() == [0]
    assert successor.server.replay() == 1
    assert successor.answer() == (4 | 1, 0, b""), "the probe: the kernel is asked first"
    assert successor.answer() == (4, 0, wire.written(4, 4096)[16:])
    stopped.close()
    successor.close()


def test_a_stopped_server_ends(memory: int) -> None:
    kernel = Kernel(MemoryDevice(SIZE), memory).start()
    kernel.send(Opcode.READ, at(0, 4096))
    kernel.answer()
    kernel.server.stop()
    assert kernel.close() is End.STOPPED


class Asked(Server):
    """A server whose kernel waits for `awaited` only."""

    awaited: frozenset[int] = frozenset()

    def _awaited(self, unique: int) -> bool:
        return unique in self.awaited


def put(memory: int, number: int, raw: bytes) -> None:
    Ring(memory).slot(number)[: len(raw)] = raw


def test_a_request_that_was_answered_is_not_done_again(memory: int) -> None:
    """The dead server answered the older write, a newer one followed; redoing the older one would
    bring old bytes back."""
    device = MemoryDevice(SIZE)
    device.write(0, b"new!" * 1024, 6)
    put(memory, 0, request(Opcode.WRITE, at(0, 4096) + b"old!" * 1024, unique=4))
    put(memory, 2, request(Opcode.WRITE, at(4096, 4096) + b"mine" * 1024, unique=8))
    put(memory, 3, request(Opcode.FORGET, bytes(8), unique=10))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        server = Asked(theirs.fileno(), Ring(memory), device, lambda what, error: None)
        server.awaited = frozenset({8})
        assert server.replay() == 1
        assert ours.recv(100) == wire.written(8, 4096)
        assert device.read(0, 8192) == b"new!" * 1024 + b"mine" * 1024


def test_every_slot_taken_by_a_dead_server_and_slow_still_leaves_a_leader(memory: int) -> None:
    """A full log and a store that is away: all the ring is writers that wait, the server is killed
    then, and what comes after them must be served once they have got through."""
    device = GatedDevice(SIZE)
    for number in range(4):
        put(memory, number, request(Opcode.READ, at(0, 4096), unique=2 + 2 * number))
    kernel = Kernel(device, memory)
    assert kernel.server.replay() == 4
    probes = sorted(kernel.answer()[0] for _ in range(4))
    assert probes == [2 | 1, 4 | 1, 6 | 1, 8 | 1]
    await_that(lambda: device.waiting == 4)
    kernel.start()
    time.sleep(0.1)  # the watcher has begun, and dozes: nobody leads
    device.gate.set()
    assert sorted(kernel.answer()[0] for _ in range(4)) == [2, 4, 6, 8]
    kernel.send(Opcode.READ, at(0, 4096), unique=10)
    assert kernel.answer()[0] == 10
    assert kernel.close() is End.UNMOUNTED


def test_ring_lists_what_was_taken_oldest_first(memory: int) -> None:
    put(memory, 0, request(Opcode.READ, at(0, 4096), unique=40))
    put(memory, 3, request(Opcode.READ, at(0, 4096), unique=20))
    assert Ring(memory).taken() == [3, 0]


def test_ring_keeps_what_init_agreed_on(memory: int) -> None:
    assert Ring(memory).negotiated is None
    Ring(memory).negotiated = wire.Negotiated(38, 0x600021)
    assert Ring(memory).negotiated == wire.Negotiated(38, 0x600021)
    assert (Ring(memory).slots, Ring(memory).connection) == (4, 0xC0FFEE)


def test_ring_of_another_version_is_refused(memory: int) -> None:
    os.pwrite(memory, b"\x02", 8)
    with pytest.raises(Damaged, match="version 2"):
        Ring(memory)


def test_data_of_a_write_lie_on_a_page(memory: int) -> None:
    start = bytes(range(256)) * 16
    put(memory, 1, request(Opcode.WRITE, at(0, 4096) + start))
    stride = 4096 + wire.MAX_WRITE
    assert os.pread(memory, 4096, 4096 + stride + 4096) == start
