"""The ring: memory that outlives the server, into which requests are read.

A memfd kept by the holder: one page of facts, then slots. A slot holds one request, whole, from
the moment the kernel hands it over until it is answered; the first four bytes (the request's
length) are zero while it is free. The kernel copies a request before read(2) returns, so a server
that is killed leaves every taken request in a slot; a slot whose request was answered before the
server could clear it is told apart by asking the kernel (`wire.probe`).

The layout is a format between versions of the server (`docs/format.md` does not list it: it never
outlives a boot). A server that finds another version refuses to serve rather than to guess.
"""

import mmap
import os
import struct

from backends.disk.fuse import wire
from backends.errors import Damaged

VERSION = 1
SLOTS = 16
_MAGIC = b"KEDGRING"
_PAGE = 4096
_FACTS = struct.Struct("<8sIIIIQQ")
"""Magic, version, slots, bytes per slot, negotiated minor (0: not yet), negotiated features,
connection."""
_LEAD = _PAGE - wire.REQUEST_HEAD
"""Unused bytes before a request, so that the data of a WRITE begin on a page."""
_STRIDE = _PAGE + wire.MAX_WRITE
_POPULATE_WRITE = 23


def make(slots: int = SLOTS, *, connection: int = 0) -> int:
    """A new, empty ring; its descriptor. `connection`: what tells the mount it serves from all
    others of this boot, because the kernel numbers the requests of each from the start."""
    descriptor = os.memfd_create("kedge-ring", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _PAGE + slots * _STRIDE)
    os.pwrite(descriptor, _FACTS.pack(_MAGIC, VERSION, slots, _STRIDE, 0, 0, connection), 0)
    return descriptor


class Ring:
    """A mapped ring. Slots are numbered from 0; a slot belongs to one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        length = os.fstat(descriptor).st_size
        if length < _PAGE:
            raise Damaged("the ring of requests has no header")
        self._map = mmap.mmap(descriptor, length)
        magic, version, slots, stride, _, _, connection = _FACTS.unpack_from(self._map)
        if (magic, version, stride) != (_MAGIC, VERSION, _STRIDE):
            raise Damaged(
                f"the ring of requests is of version {version}, this server knows {VERSION}; "
                "start the server of the version that began"
            )
        if length != _PAGE + slots * _STRIDE:
            raise Damaged(f"the ring of requests is {length} bytes long, not as its header says")
        self.slots: int = slots
        self.connection: int = connection

    def slot(self, number: int) -> memoryview:
        """The bytes of a slot, all in memory: a page fault while the kernel copies a request in
        would fail that request if the process is killed at this very moment."""
        start = _PAGE + number * _STRIDE
        self._populate(start)
        return memoryview(self._map)[start + _LEAD : start + _STRIDE]

    def taken(self) -> list[int]:
        """Slots that hold a request, oldest request first."""
        found = []
        for number in range(self.slots):
            place = _PAGE + number * _STRIDE + _LEAD
            request = wire.header(self._map[place : place + wire.IN_HEADER.size])
            if request.length:
                found.append((request.unique, number))
        return [number for _, number in sorted(found)]

    @property
    def negotiated(self) -> wire.Negotiated | None:
        """What INIT agreed on; None before."""
        *_, minor, features, _ = _FACTS.unpack_from(self._map)
        return wire.Negotiated(minor, features) if minor else None

    @negotiated.setter
    def negotiated(self, agreed: wire.Negotiated) -> None:
        facts = (_MAGIC, VERSION, self.slots, _STRIDE, agreed.minor, agreed.features)
        _FACTS.pack_into(self._map, 0, *facts, self.connection)

    def _populate(self, start: int) -> None:
        try:
            self._map.madvise(_POPULATE_WRITE, start, _STRIDE)
        except OSError:  # before Linux 5.14
            for page in range(start, start + _STRIDE, _PAGE):
                self._map[page] = self._map[page]
