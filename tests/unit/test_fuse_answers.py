"""What each request is answered, without a kernel."""

import errno
import struct

import pytest

from backends.disk.fuse import wire
from backends.disk.fuse.answers import Answers
from backends.disk.fuse.testing import MemoryDevice
from backends.disk.fuse.wire import Negotiated, Opcode
from backends.errors import Fenced
from tests.unit.test_fuse_wire import request

SIZE = 1 << 20


class Sick(MemoryDevice):
    """Every call fails with this error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(SIZE)
        self.error = error

    def read(self, offset: int, length: int) -> bytes:
        raise self.error

    def write(self, offset: int, data: bytes | memoryview, unique: int) -> None:
        raise self.error

    def flush(self) -> None:
        raise self.error

    def discard(self, offset: int, length: int) -> None:
        raise self.error


class Bench:
    """Answers over a device, with what it was told."""

    def __init__(self, device: MemoryDevice | None = None) -> None:
        self.device = device or MemoryDevice(SIZE)
        self.agreed: list[Negotiated] = []
        self.complaints: list[str] = []
        self.answers = Answers(
            self.device, self.agreed.append, lambda what, error: self.complaints.append(what)
        )

    def ask(self, opcode: int, body: bytes = b"", *, unique: int = 6, node: int = 2) -> bytes:
        raw = request(opcode, body, unique=unique, node=node)
        return b"".join(self.answers.answer(opcode, unique, memoryview(raw)))

    def error(self, opcode: int, body: bytes = b"", *, node: int = 2) -> int:
        """The errno of the answer; 0 for a good one."""
        return -int(struct.unpack_from("<i", self.ask(opcode, body, node=node), 4)[0])


def at(offset: int, size: int) -> bytes:
    return wire.TRANSFER.pack(2, offset, size, 0, 0, 0, 0)


def fallocate(offset: int, length: int, mode: int) -> bytes:
    return struct.pack("<QQQII", 2, offset, length, mode, 0)


def test_write_then_read() -> None:
    bench, data = Bench(), bytes(range(256)) * 16
    assert bench.ask(Opcode.WRITE, at(8192, 4096) + data, unique=42) == wire.written(42, 4096)
    assert bench.device.uniques == [42]
    assert bench.ask(Opcode.READ, at(8192, 4096)) == wire.answer(6, data)


@pytest.mark.parametrize(
    ("offset", "size"), [(1, 4096), (0, 512), (SIZE, 4096), (SIZE - 4096, 8192), (2**62, 4096)]
)
def test_a_write_that_is_no_whole_block_of_the_disk_is_refused(offset: int, size: int) -> None:
    bench = Bench()
    assert bench.error(Opcode.WRITE, at(offset, size) + bytes(size)) == errno.EINVAL
    assert bench.device.uniques == []


@pytest.mark.parametrize(("offset", "size"), [(1024, 1024), (4095, 2), (0, 1), (5000, 9000)])
def test_odd_reads_are_a_files(offset: int, size: int) -> None:
    bench, data = Bench(), bytes(n % 251 for n in range(16384))
    bench.device.write(0, data, 2)
    assert bench.ask(Opcode.READ, at(offset, size)) == wire.answer(6, data[offset : offset + size])


def test_reads_end_with_the_disk() -> None:
    bench = Bench()
    assert bench.ask(Opcode.READ, at(SIZE, 4096)) == wire.answer(6)
    assert len(bench.ask(Opcode.READ, at(SIZE - 4096, 8192))) == 16 + 4096


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "sick"), Fenced("lost")]
)
def test_whatever_the_device_raises_is_an_io_error(error: Exception) -> None:
    bench = Bench(Sick(error))
    assert bench.error(Opcode.WRITE, at(0, 4096) + bytes(4096)) == errno.EIO
    assert bench.error(Opcode.READ, at(0, 4096)) == errno.EIO
    assert bench.error(Opcode.FSYNC, bytes(16)) == errno.EIO
    assert bench.error(Opcode.FALLOCATE, fallocate(0, 4096, wire.PUNCH)) == errno.EIO
    assert [one.split()[0] for one in bench.complaints] == ["write", "read", "flush", "discard"]


@pytest.mark.parametrize("mode", [wire.PUNCH, wire.ZERO, wire.ZERO_AND_ALLOCATE])
def test_punched_and_zeroed_ranges_read_as_zeros(mode: int) -> None:
    bench = Bench()
    bench.device.write(0, b"x" * 16384, 2)
    assert bench.error(Opcode.FALLOCATE, fallocate(4096, 8192, mode)) == 0
    assert bench.device.read(0, 16384) == b"x" * 4096 + bytes(8192) + b"x" * 4096


@pytest.mark.parametrize(
    ("offset", "length", "mode", "number"),
    [
        (0, 4096, 0, errno.EOPNOTSUPP),
        (0, 4096, 0x08, errno.EOPNOTSUPP),
        (512, 4096, wire.PUNCH, errno.EINVAL),
        (0, SIZE + 4096, wire.ZERO, errno.EINVAL),
    ],
)
def test_other_allocations_are_refused(offset: int, length: int, mode: int, number: int) -> None:
    bench = Bench()
    bench.device.write(0, b"x" * SIZE, 2)
    assert bench.error(Opcode.FALLOCATE, fallocate(offset, length, mode)) == number
    assert bench.device.read(0, SIZE) == b"x" * SIZE


def test_there_is_one_file() -> None:
    bench = Bench()
    assert bench.ask(Opcode.LOOKUP, b"disk\0", node=1) == wire.answer(6, wire.entry(SIZE))
    assert bench.error(Opcode.LOOKUP, b"disk2\0", node=1) == errno.ENOENT
    assert bench.error(Opcode.LOOKUP, b"disk\0", node=2) == errno.ENOENT
    assert bench.ask(Opcode.GETATTR, node=2) == wire.answer(6, wire.attributes(2, SIZE))
    assert bench.ask(Opcode.GETATTR, node=1) == wire.answer(6, wire.attributes(1, 0))
    assert bench.error(Opcode.SETATTR, bytes(88)) == errno.EPERM


def test_init_is_remembered_before_it_is_answered() -> None:
    bench = Bench()
    body = wire._INIT_IN.pack(7, 45, 131072, 0xFFFFFFFF) + bytes(48)
    reply = bench.ask(Opcode.INIT, body, node=0)
    assert bench.agreed == [Negotiated(40, int(wire.WANTED))]
    assert reply == wire.answer(6, wire.initialised(bench.agreed[0]))


def test_too_old_a_kernel_is_told_so() -> None:
    bench = Bench()
    assert bench.error(Opcode.INIT, wire._INIT_IN.pack(7, 20, 0, 0) + bytes(48)) == errno.EPROTO
    assert bench.agreed == []


@pytest.mark.parametrize("opcode", [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT])
def test_some_requests_get_no_answer(opcode: int) -> None:
    assert Bench().ask(opcode, bytes(16)) == b""


@pytest.mark.parametrize("opcode", [22, 34, 39, 46, 52, 4096, 999])
def test_what_is_not_known_is_not_asked_again(opcode: int) -> None:
    assert Bench().error(opcode, bytes(64)) == errno.ENOSYS
