"""What to answer to each request: the meaning of the protocol over a BlockDevice.

Does no I/O but the device's. An answer is a sequence of buffers for one writev(2).
"""

import errno
from collections.abc import Callable, Sequence

from backends.disk.device import BLOCK, BlockDevice
from backends.disk.fuse import wire
from backends.disk.fuse.wire import Opcode

Buffers = Sequence[bytes | bytearray | memoryview]
Request = memoryview


class Answers:
    """Turns a request into its answer. What the device raises becomes EIO and is told to
    `complain` (what failed, why), for no caller will see it."""

    def __init__(
        self,
        device: BlockDevice,
        agree: Callable[[wire.Negotiated], None],
        complain: Callable[[str, Exception], None],
    ) -> None:
        self._device = device
        self._agree = agree
        self._complain = complain
        self._bodies: dict[int, Callable[[Request], bytes]] = {
            Opcode.INIT: self._init,
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: lambda view: wire.attributes(wire.header(view).node, device.size),
            Opcode.SETATTR: _forbidden,
            Opcode.OPEN: lambda view: wire.opened(wire.header(view).node),
            Opcode.OPENDIR: lambda view: wire.opened(wire.header(view).node),
            Opcode.READDIR: lambda view: wire.listing(wire.transfer(view).offset),
            Opcode.STATFS: lambda view: wire.statistics(device.size),
            Opcode.FSYNC: self._fsync,
            Opcode.FALLOCATE: self._fallocate,
            Opcode.FLUSH: _nothing,
            Opcode.RELEASE: _nothing,
            Opcode.RELEASEDIR: _nothing,
            Opcode.DESTROY: _nothing,
        }

    def answer(self, opcode: int, unique: int, view: Request) -> Buffers:
        """The answer to the request in `view`; empty when the kernel wants none."""
        if opcode == 16:  # compared with numbers: this is the path that must be fast
            return self._write(unique, view)
        if opcode == 15:
            return self._read(unique, view)
        if opcode in wire.UNANSWERED:
            return ()
        body = self._bodies.get(opcode)
        if body is None:
            return (wire.refusal(unique, errno.ENOSYS),)
        try:
            return (wire.answer(unique, body(view)),)
        except _Refused as error:
            return (wire.refusal(unique, error.number),)

    def _write(self, unique: int, view: Request) -> Buffers:
        _, offset, size, _, _, _, _ = wire.TRANSFER.unpack_from(view, 40)
        if (offset | size) % BLOCK or offset + size > self._device.size:
            return (wire.refusal(unique, errno.EINVAL),)
        try:
            self._device.write(offset, view[80 : 80 + size], unique)
        except Exception as error:
            self._complain(f"write of {size} bytes at {offset}", error)
            return (wire.refusal(unique, errno.EIO),)
        return (wire.WRITTEN.pack(24, 0, unique, size, 0),)

    def _read(self, unique: int, view: Request) -> Buffers:
        _, offset, size, _, _, _, _ = wire.TRANSFER.unpack_from(view, 40)
        device = self._device
        try:
            if (offset | size) % BLOCK or offset + size > device.size:
                data = self._odd(offset, size)
            else:
                data = device.read(offset, size)
        except Exception as error:
            self._complain(f"read of {size} bytes at {offset}", error)
            return (wire.refusal(unique, errno.EIO),)
        return (wire.OUT_HEADER.pack(16 + len(data), 0, unique), data)

    def _odd(self, offset: int, size: int) -> bytes | bytearray:
        """What a read of a file says: never beyond the end, and not only whole blocks (programs
        that look at the disk as a file read like that)."""
        end = min(offset + size, self._device.size)
        if offset >= end:
            return b""
        start = offset // BLOCK * BLOCK
        whole = self._device.read(start, -(-(end - start) // BLOCK) * BLOCK)
        return whole[offset - start : end - start]

    def _init(self, view: Request) -> bytes:
        try:
            agreed = wire.negotiate(view)
        except ValueError as error:
            self._complain("the kernel's greeting", error)
            raise _Refused(errno.EPROTO) from error
        self._agree(agreed)
        return wire.initialised(agreed)

    def _lookup(self, view: Request) -> bytes:
        if wire.header(view).node != wire.ROOT or wire.name(view) != wire.NAME:
            raise _Refused(errno.ENOENT)
        return wire.entry(self._device.size)

    def _fsync(self, view: Request) -> bytes:
        self._guarded("flush", self._device.flush)
        return b""

    def _fallocate(self, view: Request) -> bytes:
        asked = wire.allocation(view)
        if asked.mode not in (wire.PUNCH, wire.ZERO, wire.ZERO_AND_ALLOCATE):
            raise _Refused(errno.EOPNOTSUPP)
        if (asked.offset | asked.length) % BLOCK or (
            asked.offset + asked.length > self._device.size
        ):
            raise _Refused(errno.EINVAL)
        self._guarded(
            f"discard of {asked.length} bytes at {asked.offset}",
            lambda: self._device.discard(asked.offset, asked.length),
        )
        return b""

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._complain(what, error)
            raise _Refused(errno.EIO) from error


class _Refused(Exception):
    """`number`: the errno to answer."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _nothing(view: Request) -> bytes:
    return b""


def _forbidden(view: Request) -> bytes:
    raise _Refused(errno.EPERM)
