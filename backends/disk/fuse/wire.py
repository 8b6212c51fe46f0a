"""FUSE as the kernel speaks it on /dev/fuse (include/uapi/linux/fuse.h, protocol 7.31 and later).

Pure: bytes in, values out, and back. Everything is little-endian here because every machine the
driver runs on is. Only what one file needs is known; the rest is answered ENOSYS, after which the
kernel does not ask again.
"""

import enum
import errno
import struct
from dataclasses import dataclass

MAJOR = 7
OLDEST_MINOR = 31
"""Linux 5.4: FOPEN flags, MAX_PAGES and the size of INIT are as used here."""
NEWEST_MINOR = 40
ROOT = 1
FILE = 2
NAME = b"disk"
MAX_WRITE = 1 << 20
MAX_PAGES = MAX_WRITE // 4096

IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
TRANSFER = struct.Struct("<QQIIQII")
"""fuse_write_in and fuse_read_in: fh, offset, size, flags, lock owner, open flags, padding."""
WRITTEN = struct.Struct("<IiQII")
"""The whole answer to WRITE: header, size, padding."""
REQUEST_HEAD = IN_HEADER.size + TRANSFER.size
"""Bytes before the data of a WRITE."""
_INIT_IN = struct.Struct("<IIII")
_INIT_FLAGS2 = struct.Struct("<I")
_INIT_OUT = struct.Struct("<IIIIHHIIHHIIH22x")
_ENTRY = struct.Struct("<QQQQII")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_ATTR_HEAD = struct.Struct("<QII")
_OPENED = struct.Struct("<QIi")
_FALLOCATE = struct.Struct("<QQQII")
_STATFS = struct.Struct("<QQQQQIIII24x")
_INVALIDATE = struct.Struct("<Qqq")
_DIRENT = struct.Struct("<QQII")

FOREVER = 1 << 31
"""Seconds an answer about names and attributes stays good: changes are announced."""


class Opcode(enum.IntEnum):
    """What the kernel asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43


UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Requests that the kernel wants no answer to."""


class Feature(enum.IntFlag):
    """INIT flags this server asks for where the kernel offers them."""

    ASYNC_READ = 1 << 0
    BIG_WRITES = 1 << 5
    ASYNC_DIO = 1 << 15
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22


WANTED = (
    Feature.ASYNC_READ
    | Feature.BIG_WRITES
    | Feature.ASYNC_DIO
    | Feature.ABORT_ERROR
    | Feature.MAX_PAGES
)
_DIRECT_IO = 1 << 0
_PARALLEL_DIRECT_WRITES = 1 << 6
PUNCH = 0x03
ZERO = 0x11
ZERO_AND_ALLOCATE = 0x10
_NOTIFY_INVALIDATE_INODE = 2
_INTERRUPT_BIT = 1
_BACKGROUND = 64
_REGULAR, _DIRECTORY = 0o100600, 0o040700


@dataclass(frozen=True)
class Header:
    """What every request begins with."""

    length: int
    opcode: int
    unique: int
    node: int


@dataclass(frozen=True)
class Transfer:
    """Which bytes a READ or WRITE is about."""

    offset: int
    size: int


@dataclass(frozen=True)
class Allocation:
    """What a FALLOCATE asks for."""

    offset: int
    length: int
    mode: int


@dataclass(frozen=True)
class Negotiated:
    """What INIT agreed on; it holds until the file system is unmounted, whoever serves it."""

    minor: int
    features: int


def header(request: bytes | memoryview) -> Header:
    """The header of a request."""
    length, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
    return Header(length, opcode, unique, node)


def transfer(request: bytes | memoryview) -> Transfer:
    """The body of a READ or WRITE."""
    _, offset, size, *_ = TRANSFER.unpack_from(request, IN_HEADER.size)
    return Transfer(offset, size)


def allocation(request: bytes | memoryview) -> Allocation:
    """The body of a FALLOCATE."""
    _, offset, length, mode, _ = _FALLOCATE.unpack_from(request, IN_HEADER.size)
    return Allocation(offset, length, mode)


def name(request: bytes | memoryview) -> bytes:
    """The name in a LOOKUP."""
    length = header(request).length
    return bytes(request[IN_HEADER.size : length]).split(b"\0", 1)[0]


def negotiate(request: bytes | memoryview) -> Negotiated:
    """What to agree on with the kernel that sent this INIT. Raises ValueError when it is older
    than this server can serve."""
    major, minor, _, flags = _INIT_IN.unpack_from(request, IN_HEADER.size)
    if major != MAJOR or minor < OLDEST_MINOR:
        raise ValueError(
            f"the kernel speaks FUSE {major}.{minor}; {MAJOR}.{OLDEST_MINOR} (Linux 5.4) is needed"
        )
    needed = Feature.BIG_WRITES | Feature.MAX_PAGES
    if flags & needed != needed:
        raise ValueError("the kernel's FUSE offers no writes of 1 MiB (MAX_PAGES)")
    return Negotiated(min(minor, NEWEST_MINOR), flags & WANTED)


def answer(unique: int, body: bytes = b"") -> bytes:
    """A good answer."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body


def refusal(unique: int, number: int) -> bytes:
    """A bad answer: `number` is a positive errno."""
    return OUT_HEADER.pack(OUT_HEADER.size, -number, unique)


def written(unique: int, size: int) -> bytes:
    """The good answer to a WRITE."""
    return WRITTEN.pack(WRITTEN.size, 0, unique, size, 0)


def probe(unique: int) -> bytes:
    """Asks the kernel whether a request still waits for its answer: the write of this fails with
    ENOENT when it does not, and has no effect when it does.

    It is the answer to an INTERRUPT of that request. The kernel looks the request up before it
    does anything, and then has nothing to do (fuse_dev_do_write in fs/fuse/dev.c, since 4.20)."""
    return OUT_HEADER.pack(OUT_HEADER.size, 0, unique | _INTERRUPT_BIT)


def forget_size() -> bytes:
    """A notice that what the kernel knows of the file's attributes is out of date."""
    body = _INVALIDATE.pack(FILE, -1, 0)
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), _NOTIFY_INVALIDATE_INODE, 0) + body


def initialised(agreed: Negotiated) -> bytes:
    """Body of the answer to INIT."""
    background = (_BACKGROUND, _BACKGROUND)
    sizes = (MAX_WRITE, 1, MAX_PAGES, 0, 0, 0, 0)
    return _INIT_OUT.pack(MAJOR, agreed.minor, MAX_WRITE, agreed.features, *background, *sizes)


def _attributes(node: int, size: int) -> bytes:
    if node == ROOT:
        return _ATTR.pack(ROOT, 0, 0, *[0] * 6, _DIRECTORY, 2, 0, 0, 0, 4096, 0)
    return _ATTR.pack(FILE, size, size // 512, *[0] * 6, _REGULAR, 1, 0, 0, 0, 4096, 0)


def entry(size: int) -> bytes:
    """Body of the answer to a LOOKUP of the file."""
    return _ENTRY.pack(FILE, 0, FOREVER, FOREVER, 0, 0) + _attributes(FILE, size)


def attributes(node: int, size: int) -> bytes:
    """Body of the answer to GETATTR."""
    return _ATTR_HEAD.pack(FOREVER, 0, 0) + _attributes(node, size)


def opened(node: int) -> bytes:
    """Body of the answer to OPEN and OPENDIR. Writes of the file go in parallel and past the page
    cache: the loop device above does its own ordering and caching."""
    flags = _DIRECT_IO | _PARALLEL_DIRECT_WRITES if node == FILE else 0
    return _OPENED.pack(node, flags, 0)


def listing(offset: int) -> bytes:
    """Body of the answer to READDIR."""
    if offset:
        return b""
    found = b""
    for place, (node, kind, text) in enumerate(
        [(ROOT, 4, b"."), (ROOT, 4, b".."), (FILE, 8, NAME)]
    ):
        padding = bytes(-(_DIRENT.size + len(text)) % 8)
        found += _DIRENT.pack(node, place + 1, len(text), kind) + text + padding
    return found


def statistics(size: int) -> bytes:
    """Body of the answer to STATFS."""
    return _STATFS.pack(size // 4096, 0, 0, 1, 0, 4096, 255, 4096, 0)


GONE = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN})
"""What reading or writing /dev/fuse says when the connection is over."""
