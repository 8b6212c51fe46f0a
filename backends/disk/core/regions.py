"""One part of the map of a disk: where each block of 1 GiB is, and its checksum.

In chunks of 8 MiB of the disk that come into being when something is written there: a disk that is
touched here and there takes little memory. A copy shares its chunks with the original, and whoever
changes one first makes it its own.

A location has 64 bits, of which few are ever used. A chunk keeps 32 of each: 12 of the place and 20
of the object; 8 more of the object once its disk has had a million of them. With the checksum a
block takes 8 or 9 bytes. What does not fit into that makes its chunk a wide one, with 12.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from operator import rshift

from backends.disk.core.commit import little, words32, words64

REGION = 262144
"""Blocks of a region: 1 GiB."""
CHUNK = 2048
"""Blocks of a chunk: 16 KiB of memory."""
PLACE = 20
"""Bits of a location that say which block of its object it is; those above say which object."""
_SHORT = 12
"""Bits of a place in a chunk that is not wide."""
_LOW = (1 << _SHORT) - 1
_HIGH = 0xFFFFF000
_ERA = 40
"""Where in a location the bits of its era begin: that of the first million objects is 0."""
_TOO_MUCH = 0xFFFF0000000FF000
"""The bits of locations that are in wide chunks only."""
_UPPER = bytes(byte & 0xF0 for byte in range(256))
_LOWER = bytes(byte & 0x0F for byte in range(256))


class Wide:
    """Locations (0: never written) and checksums of some blocks, as a checkpoint has them."""

    __slots__ = ("_places", "checksums", "shared")

    def __init__(self, places: "array[int]", checksums: "array[int]") -> None:
        self._places = places
        self.checksums = checksums
        self.shared = False
        """A copy of the region has it, too."""

    def copy(self) -> "Wide":
        """One that can be changed apart from this one."""
        return Wide(self._places[:], self.checksums[:])

    def places(self) -> "array[int]":
        """All locations."""
        return self._places

    def find(self, place: int) -> int:
        """One location."""
        return self._places[place]

    def some(self, first: int, last: int) -> "list[int]":
        """The locations of blocks [first, last)."""
        return self._places[first:last].tolist()

    def put(self, place: int, at: int, checksum: int) -> int:
        """Replace one location and checksum; where it was."""
        old = self._places[place]
        self._places[place], self.checksums[place] = at, checksum
        return old

    def fill(self, first: int, count: int, at: int) -> None:
        """Replace several, by those from `at` on, or by 0."""
        fresh = range(at, at + count) if at else bytes(8 * count)
        self._places[first : first + count] = array("Q", fresh)

    def numbers(self, first: int, last: int) -> Counter[int]:
        """How many of the blocks [first, last) are in which object."""
        return Counter(map(rshift, self._places[first:last], repeat(PLACE)))


class Chunk:
    """The same in less memory: see above."""

    __slots__ = ("_eras", "_words", "checksums", "shared")

    def __init__(
        self, words: "array[int]", checksums: "array[int]", eras: bytearray | None = None
    ) -> None:
        self._words = words
        self._eras = eras
        self.checksums = checksums
        self.shared = False

    def copy(self) -> "Chunk":
        """See Wide."""
        return Chunk(self._words[:], self.checksums[:], self._eras and self._eras[:])

    def places(self) -> "array[int]":
        """See Wide."""
        words, found = little(self._words), bytearray(8 * len(self._words))
        found[0::8] = words[0::4]
        found[1::8] = words[1::4].translate(_LOWER)
        found[2::8] = words[1::4].translate(_UPPER)
        found[3::8], found[4::8] = words[2::4], words[3::4]
        if self._eras:
            found[5::8] = self._eras
        return words64(bytes(found))

    def find(self, place: int) -> int:
        """See Wide."""
        word = self._words[place]
        at = (word & _HIGH) << 8 | word & _LOW
        return self._eras[place] << _ERA | at if self._eras else at

    def some(self, first: int, last: int) -> list[int]:
        """See Wide."""
        if self._eras:
            return [self.find(place) for place in range(first, last)]
        return [(word & _HIGH) << 8 | word & _LOW for word in self._words[first:last]]

    def put(self, place: int, at: int, checksum: int) -> int:
        """See Wide; it must fit."""
        word = self._words[place]
        old = (word & _HIGH) << 8 | word & _LOW
        if self._eras or at >> _ERA:
            old = self.find(place)
            self._note_eras(place, 1, at >> _ERA)
        self._words[place], self.checksums[place] = at >> 8 & _HIGH | at & _LOW, checksum
        return old

    def fill(self, first: int, count: int, at: int) -> None:
        """See Wide; they must fit."""
        start = at >> 8 & _HIGH | at & _LOW
        fresh = range(start, start + count) if at else bytes(4 * count)
        self._words[first : first + count] = array("I", fresh)
        if self._eras or at >> _ERA:
            self._note_eras(first, count, at >> _ERA)

    def numbers(self, first: int, last: int) -> Counter[int]:
        """See Wide."""
        if self._eras:
            return Counter(at >> PLACE for at in self.some(first, last))
        return Counter(map(rshift, self._words[first:last], repeat(_SHORT)))

    def _note_eras(self, first: int, count: int, era: int) -> None:
        if not self._eras:
            self._eras = bytearray(len(self._words))
        self._eras[first : first + count] = bytes((era,)) * count


class Region:
    """Not thread-safe."""

    def __init__(self, blocks: int) -> None:
        """Of so many blocks, none of which was ever written."""
        self.blocks = blocks
        self._size = min(CHUNK, blocks)
        self._chunks: list[Chunk | Wide | None] = [None] * -(-blocks // self._size)

    @classmethod
    def of(cls, places: "array[int]", checksums: "array[int]") -> "Region":
        """With these locations and checksums, one a block."""
        region = cls(len(places))
        size, nothing = region._size, array("Q", bytes(8 * region._size))
        for number in range(len(region._chunks)):
            part = places[number * size : (number + 1) * size]
            if part != nothing:
                sums = checksums[number * size : (number + 1) * size]
                region._chunks[number] = _made(part, sums)
        return region

    def copy(self) -> "Region":
        """As it is now, whatever becomes of this one. Cheap."""
        copy = Region(self.blocks)
        for chunk in self._chunks:
            if chunk is not None:
                chunk.shared = True
        copy._chunks = list(self._chunks)
        return copy

    def find(self, block: int) -> tuple[int, int]:
        """Location and checksum of a block."""
        number, place = divmod(block, self._size)
        chunk = self._chunks[number]
        if chunk is None:
            return 0, 0
        return chunk.find(place), chunk.checksums[place]

    def run(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Location and checksum of `count` blocks."""
        done = 0
        while done < count:
            number, place = divmod(first + done, self._size)
            size = min(count - done, self._size - place)
            chunk = self._chunks[number]
            if chunk is None:
                yield from repeat((0, 0), size)
            else:
                sums = chunk.checksums[place : place + size]
                yield from zip(chunk.some(place, place + size), sums, strict=True)
            done += size

    def put(self, block: int, at: int, checksum: int) -> int:
        """Say where a block is now; where it was."""
        number, place = divmod(block, self._size)
        chunk = self._chunks[number]
        if chunk is None or chunk.shared or at & _TOO_MUCH:
            chunk = self._own(number, at, 1)
        return chunk.put(place, at, checksum)

    def fill(self, first: int, count: int, at: int, checksums: "array[int] | None") -> Counter[int]:
        """Say where `count` blocks are now: one behind the other from `at` on, or nowhere (0). How
        many blocks of which objects they were before (0: of none)."""
        before: Counter[int] = Counter()
        done = 0
        while done < count:
            number, place = divmod(first + done, self._size)
            size = min(count - done, self._size - place)
            if at or self._chunks[number] is not None:
                chunk = self._own(number, at and at + done, size)
                before.update(chunk.numbers(place, place + size))
                chunk.fill(place, size, at and at + done)
                sums = checksums[done : done + size] if checksums else array("I", bytes(4 * size))
                chunk.checksums[place : place + size] = sums
            done += size
        return before

    def places(self) -> "array[int]":
        """The locations of all blocks."""
        found = array("Q")
        for chunk in self._chunks:
            found += chunk.places() if chunk else array("Q", bytes(8 * self._size))
        return found

    def checksums(self) -> "array[int]":
        """The checksums of all blocks."""
        found = array("I")
        for chunk in self._chunks:
            found += chunk.checksums if chunk else array("I", bytes(4 * self._size))
        return found

    def written(self) -> Iterator[tuple[int, int, int]]:
        """Block, location and checksum of all that were ever written."""
        for number, chunk in enumerate(self._chunks):
            if chunk is not None:
                for place, at in enumerate(chunk.places()):
                    if at:
                        yield number * self._size + place, at, chunk.checksums[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return (self.places(), self.checksums()) == (other.places(), other.checksums())

    __hash__ = None  # type: ignore[assignment]

    def _own(self, number: int, at: int, count: int) -> Chunk | Wide:
        """A chunk that is about to change, and can take so many locations from `at` on."""
        chunk = self._chunks[number]
        if chunk is None:
            sums = array("I", bytes(4 * self._size))
            chunk = Chunk(sums[:], sums)
        elif chunk.shared:
            chunk = chunk.copy()
        elif isinstance(chunk, Wide) or not (at | at + count - 1) & _TOO_MUCH:
            return chunk
        if (at | at + count - 1) & _TOO_MUCH and isinstance(chunk, Chunk):
            chunk = Wide(chunk.places(), chunk.checksums)
        self._chunks[number] = chunk
        return chunk


def _made(places: "array[int]", checksums: "array[int]") -> Chunk | Wide:
    """With these locations. All is done with many at a time: a region has 262144."""
    whole, count = little(places), len(places)
    place, both, era, none = whole[1::8], whole[2::8], whole[5::8], bytes(count)
    beyond = place.translate(_UPPER), both.translate(_LOWER), whole[6::8], whole[7::8]
    if any(part != none for part in beyond):
        return Wide(places, checksums)
    words = bytearray(4 * count)
    words[0::4] = whole[0::8]
    mixed = int.from_bytes(place, "little") | int.from_bytes(both, "little")
    words[1::4] = mixed.to_bytes(count, "little")
    words[2::4], words[3::4] = whole[3::8], whole[4::8]
    return Chunk(words32(bytes(words)), checksums, bytearray(era) if era != none else None)
