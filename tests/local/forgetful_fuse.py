"""A FUSE file system with one file, of which the kernel may remember nothing: stop its server, and
whoever asks about the file waits."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from backends.disk.fuse import wire
from backends.disk.fuse.wire import Opcode
from backends.host import fuse, mounts


@contextlib.contextmanager
def served(point: Path, backing: Path) -> Iterator[int]:
    """`point`/disk reads and writes `backing`. Yields the pid of the server."""
    point.mkdir()
    descriptor = fuse.open_device()
    fuse.mount(descriptor, point, "forgetful")
    pid = os.fork()
    if pid == 0:
        try:
            _serve(descriptor, os.open(backing, os.O_RDWR))
        finally:
            os._exit(0)
    os.close(descriptor)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        mounts.unmount(point, lazily=True)


def _serve(descriptor: int, backing: int) -> None:
    size = os.fstat(backing).st_size
    while True:
        request = os.read(descriptor, wire.MAX_WRITE + 4096)
        head = wire.header(request)
        if head.opcode not in wire.UNANSWERED:
            with contextlib.suppress(FileNotFoundError):  # interrupted meanwhile
                os.write(descriptor, _answer(request, head, backing, size))


def _answer(request: bytes, head: wire.Header, backing: int, size: int) -> bytes:
    if head.opcode == Opcode.INIT:
        return wire.answer(head.unique, wire.initialised(wire.negotiate(request)))
    if head.opcode == Opcode.LOOKUP and wire.name(request) == wire.NAME:
        return wire.answer(head.unique, _forgotten(wire.entry(size), 16, 32))
    if head.opcode == Opcode.GETATTR:
        return wire.answer(head.unique, _forgotten(wire.attributes(head.node, size), 0, 8))
    if head.opcode in (Opcode.OPEN, Opcode.OPENDIR):
        return wire.answer(head.unique, wire.opened(head.node))
    if head.opcode == Opcode.READ:
        what = wire.transfer(request)
        return wire.answer(head.unique, os.pread(backing, what.size, what.offset))
    if head.opcode == Opcode.WRITE:
        what = wire.transfer(request)
        data = request[wire.REQUEST_HEAD :]
        return wire.written(head.unique, os.pwrite(backing, data, what.offset))
    if head.opcode in (Opcode.FSYNC, Opcode.FLUSH, Opcode.RELEASE, Opcode.RELEASEDIR):
        return wire.answer(head.unique)
    return wire.refusal(head.unique, 38)


def _forgotten(body: bytes, start: int, end: int) -> bytes:
    """The same answer, good for no time at all."""
    return body[:start] + bytes(end - start) + body[end:]
