"""One part of the map of a disk: where each block of 1 GiB is, and its checksum.

Two arrays, 12 bytes a block together, in chunks of 8 MiB of the disk that come into being when
something is written there: a disk that is touched here and there takes little memory. A copy shares
its chunks with the original, and whoever changes one first makes it its own.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

REGION = 262144
"""Blocks of a region: 1 GiB."""
CHUNK = 2048
"""Blocks of a chunk: 24 KiB of memory."""
PLACE = 20
"""Bits of a location that say which block of its object it is; those above say which object."""


class Chunk:
    """Locations (0: never written) and checksums of some blocks."""

    __slots__ = ("checksums", "places", "shared")

    def __init__(self, places: "array[int]", checksums: "array[int]") -> None:
        self.places = places
        self.checksums = checksums
        self.shared = False
        """A copy of the region has it, too."""

    def fill(self, first: int, places: "array[int]", checksums: "array[int]") -> Counter[int]:
        """Replace some; how many blocks of which objects were there before."""
        last = first + len(places)
        before = Counter(at >> PLACE for at in self.places[first:last])
        self.places[first:last] = places
        self.checksums[first:last] = checksums
        return before


class Region:
    """Not thread-safe."""

    def __init__(self, blocks: int) -> None:
        """Of so many blocks, none of which was ever written."""
        self.blocks = blocks
        self._size = min(CHUNK, blocks)
        self._chunks: list[Chunk | None] = [None] * -(-blocks // self._size)

    @classmethod
    def of(cls, places: "array[int]", checksums: "array[int]") -> "Region":
        """With these locations and checksums, one a block."""
        region = cls(len(places))
        size, nothing = region._size, array("Q", bytes(8 * region._size))
        for number in range(len(region._chunks)):
            part = places[number * size : (number + 1) * size]
            if part != nothing:
                sums = checksums[number * size : (number + 1) * size]
                region._chunks[number] = Chunk(part, sums)
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
        chunk = self._chunks[block // self._size]
        if chunk is None:
            return 0, 0
        place = block % self._size
        return chunk.places[place], chunk.checksums[place]

    def put(self, block: int, at: int, checksum: int) -> int:
        """Say where a block is now; where it was."""
        number, place = divmod(block, self._size)
        chunk = self._own(number)
        old = chunk.places[place]
        chunk.places[place], chunk.checksums[place] = at, checksum
        return old

    def fill(self, first: int, count: int, at: int, checksums: "array[int] | None") -> Counter[int]:
        """Say where `count` blocks are now: one behind the other from `at` on, or nowhere (0). How
        many blocks of which objects they were before (0: of none)."""
        before: Counter[int] = Counter()
        done = 0
        while done < count:
            number, place = divmod(first + done, self._size)
            size = min(count - done, self._size - place)
            if at or self._chunks[number] is not None:
                fresh = array("Q", range(at + done, at + done + size) if at else bytes(8 * size))
                sums = checksums[done : done + size] if checksums else array("I", bytes(4 * size))
                before += self._own(number).fill(place, fresh, sums)
            done += size
        return before

    def places(self) -> "array[int]":
        """The locations of all blocks."""
        found = array("Q")
        for chunk in self._chunks:
            found += chunk.places if chunk else array("Q", bytes(8 * self._size))
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
                for place, at in enumerate(chunk.places):
                    if at:
                        yield number * self._size + place, at, chunk.checksums[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return (self.places(), self.checksums()) == (other.places(), other.checksums())

    __hash__ = None  # type: ignore[assignment]

    def _own(self, number: int) -> Chunk:
        """A chunk that is about to change."""
        chunk = self._chunks[number]
        if chunk is None:
            size = self._size
            chunk = Chunk(array("Q", bytes(8 * size)), array("I", bytes(4 * size)))
        elif chunk.shared:
            chunk = Chunk(chunk.places[:], chunk.checksums[:])
        else:
            return chunk
        self._chunks[number] = chunk
        return chunk
