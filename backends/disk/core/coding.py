"""How the blocks of an object are kept: as they are, compressed, encrypted, or both.

Blocks are coded in frames of FRAME, so that a few can be read without the rest. A frame that
compression does not make shorter is kept as it is: its length tells.
"""

import enum
import functools
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from backends.errors import Damaged

if TYPE_CHECKING:  # the libraries are loaded by those who encrypt only
    from backends.disk.core.ciphers import Cipher

FRAME = 16
"""Blocks of a frame: 64 KiB."""
TAG = 16
"""Bytes that a box is longer than what is in it."""
TABLE = (1 << 64) - 1
"""The place of an object's table; its frames are at 0, 1, ..."""
_BLOCK = 4096
_ENCRYPTED = 0x10
_COMPRESSION = 0x0F
_BOXED = b"kedgebox"


class Compression(enum.Enum):
    """How frames are made shorter."""

    NONE = "none"
    ZSTD = "zstd"
    LZ4 = "lz4"

    @property
    def number(self) -> int:
        """As the format writes it."""
        return list(Compression).index(self)


@dataclass(frozen=True)
class Frames:
    """How the blocks of one object are coded. `name`: what they are sealed under."""

    coding: int
    name: bytes
    lengths: "array[int]"

    @functools.cached_property
    def _ends(self) -> "array[int]":
        return array("I", accumulate(self.lengths))

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self._ends[-1] if self.lengths else 0

    def span(self, first: int, count: int) -> tuple[int, int]:
        """Where frames lie: first byte behind the object's start, and how many."""
        start = self._ends[first - 1] if first else 0
        return start, self._ends[first + count - 1] - start


def frames_of(blocks: int) -> int:
    """How many frames so many blocks make."""
    return -(-blocks // FRAME)


def frame_blocks(blocks: int, index: int) -> int:
    """How many blocks are in frame `index` of an object of `blocks`."""
    return min(FRAME, blocks - index * FRAME)


class Coder:
    """Codes what is written as its disk wants it, and decodes whatever is found. Thread-safe."""

    def __init__(
        self, compression: Compression = Compression.NONE, cipher: "Cipher | None" = None
    ) -> None:
        self.cipher = cipher
        self.number = compression.number | (_ENCRYPTED if cipher else 0)
        """0: blocks are kept as they are."""

    def encode(self, name: bytes, blocks: Sequence[bytes]) -> tuple[list[bytes], "array[int]"]:
        """The frames of these blocks, and their lengths. `name` was never used before, or for
        the same blocks."""
        box = self.cipher.box(name) if self.cipher else None
        frames = []
        for index in range(frames_of(len(blocks))):
            body = b"".join(blocks[index * FRAME : (index + 1) * FRAME])
            shorter = _compress(self.number & _COMPRESSION, body)
            frame = shorter if len(shorter) < len(body) else body
            frames.append(box.seal(index, frame) if box else frame)
        return frames, array("I", map(len, frames))

    def decode(self, frames: Frames, index: int, body: bytes, blocks: int) -> bytes:
        """The blocks of frame `index`, of which there are `blocks`. Damaged."""
        if frames.coding & _ENCRYPTED:
            if self.cipher is None:
                raise Damaged("an object is encrypted, but its disk has no key")
            body = self.cipher.box(frames.name).open(index, body)
        size = blocks * _BLOCK
        found = body if len(body) == size else _expand(frames.coding & _COMPRESSION, body, size)
        if len(found) != size:
            raise Damaged(f"a frame of {size} bytes holds {len(found)}")
        return found

    def seal(self, key: str, body: bytes) -> bytes:
        """A whole object that is no one's blocks, such as a checkpoint's part, named by `key`."""
        return _BOXED + self.cipher.box(key.encode()).seal(TABLE, body) if self.cipher else body

    def open(self, key: str, body: bytes) -> bytes:
        """What `seal` was given. Damaged."""
        boxed = body[: len(_BOXED)] == _BOXED
        if boxed != (self.cipher is not None):
            raise Damaged(f"{key} is {'' if boxed else 'not '}encrypted, unlike its disk")
        if self.cipher is None:
            return body
        return self.cipher.box(key.encode()).open(TABLE, body[len(_BOXED) :])


PLAIN = Coder()
"""Keeps blocks as they are."""


def sealed_bytes(coding: int) -> int:
    """By how much a table of this coding is longer than what is in it."""
    return TAG if coding & _ENCRYPTED else 0


def known(coding: int) -> bool:
    """Whether this version can decode that."""
    return coding & ~(_ENCRYPTED | _COMPRESSION) == 0 and coding & _COMPRESSION < len(Compression)


def encrypted(coding: int) -> bool:
    """Whether this coding needs a key."""
    return bool(coding & _ENCRYPTED)


def _compress(number: int, body: bytes) -> bytes:
    if number == Compression.ZSTD.number:
        packed: bytes = _zstd()[0].compress(body)
        return packed
    if number == Compression.LZ4.number:
        return _lz4().compress(body, store_size=False)  # type: ignore[no-any-return]
    return body


def _expand(number: int, body: bytes, size: int) -> bytes:
    try:
        if number == Compression.ZSTD.number:
            packer, unpacker, announced = _zstd()
            del packer
            if announced(body) > size:  # else it would be allocated, however much it is
                raise Damaged(f"a compressed frame of {size} bytes announces more")
            return unpacker.decompress(body, max_output_size=size)  # type: ignore[no-any-return]
        if number == Compression.LZ4.number:
            return _lz4().decompress(body, uncompressed_size=size)  # type: ignore[no-any-return]
    except Damaged:
        raise
    except Exception as error:  # each library has errors of its own
        raise Damaged(f"a compressed frame cannot be expanded: {error}") from error
    return body


_local = threading.local()


def _zstd() -> tuple[Any, Any, Any]:
    """Its contexts are not for several threads. Loaded by whoever uses it only."""
    if not hasattr(_local, "zstd"):
        import zstandard

        packer = zstandard.ZstdCompressor(level=1, write_content_size=False)
        _local.zstd = packer, zstandard.ZstdDecompressor(), zstandard.frame_content_size
    return _local.zstd  # type: ignore[no-any-return]


@functools.cache
def _lz4() -> Any:
    import lz4.block  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return lz4.block
