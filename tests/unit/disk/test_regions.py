"""A part of the map against plain lists, and what it takes of memory."""

import gc
import random
import tracemalloc
from array import array
from collections import Counter

import pytest

from backends.disk.core import regions
from backends.disk.core.regions import PLACE, Region


@pytest.mark.parametrize("seed", range(20))
def test_it_is_two_lists_and_a_copy_is_what_it_was(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "CHUNK", 8)
    chance = random.Random(seed)
    region, places, sums = Region(64), [0] * 64, [0] * 64
    copies: list[tuple[Region, list[int], list[int]]] = []
    numbers = [0, 1 << 20, 1 << 27, 1 << 28, 1 << 40][: 1 + seed % 5]
    firsts = [100, 4096, 8150][: 1 + seed % 3]
    for step in range(1, 60):
        first = chance.randrange(64)
        count = chance.randint(1, 64 - first)
        number = step + chance.choice(numbers)
        at = chance.choice([0, number << PLACE | chance.randrange(chance.choice(firsts))])
        if count == 1 and at:
            assert region.put(first, at, step) == places[first]
            places[first], sums[first] = at, step
        else:
            before = Counter(old >> PLACE for old in places[first : first + count])
            found = region.fill(first, count, at, array("I", [step] * count) if at else None)
            assert {n: c for n, c in found.items() if n} == {n: c for n, c in before.items() if n}
            places[first : first + count] = range(at, at + count) if at else [0] * count
            sums[first : first + count] = [step if at else 0] * count
        assert (list(region.places()), list(region.checksums())) == (places, sums)
        assert [region.find(n) for n in range(64)] == list(zip(places, sums, strict=True))
        assert list(region.run(first, count)) == [region.find(n) for n in range(first, 64)][:count]
        assert list(region.written()) == [
            (n, place, sums[n]) for n, place in enumerate(places) if place
        ]
        if chance.random() < 0.2:
            copies.append((region.copy(), list(places), list(sums)))
    for copy, then, sums_then in copies:
        assert (list(copy.places()), list(copy.checksums())) == (then, sums_then)
    assert Region.of(region.places(), region.checksums()) == region


def test_a_block_takes_eight_bytes_or_nine() -> None:
    blocks = regions.REGION // 32
    for number, most in ((1, 2.2), (1 << 20, 2.45)):
        places = array("Q", range(number << PLACE, (number << PLACE) + blocks))
        places = array("Q", [at & ~0xFF000 for at in places])
        sums = array("I", bytes(4 * blocks))
        gc.collect()
        tracemalloc.start()
        try:
            region = Region.of(places, sums)
            assert tracemalloc.get_traced_memory()[0] < most * (1 << 20) / 32
        finally:
            tracemalloc.stop()
        assert region.places() == places


def test_only_what_is_touched_takes_memory() -> None:
    region = Region(regions.REGION)
    region.put(17, 3 << PLACE, 99)
    region.fill(100_000, 10, 4 << PLACE, array("I", range(10)))
    region.fill(200_000, 5_000, 0, None)
    loaded = Region.of(region.places(), region.checksums())
    for one in (region, loaded):
        assert sum(chunk is not None for chunk in one._chunks) == 2


def test_a_copy_is_shared_until_one_of_the_two_changes() -> None:
    region = Region(regions.REGION)
    region.put(17, 3 << PLACE, 99)
    region.put(5_000, 4 << PLACE, 98)
    copy = region.copy()
    region.put(18, 5 << PLACE, 97)
    mine, other = region._chunks, copy._chunks
    assert mine[0] is not other[0]
    assert mine[5_000 // regions.CHUNK] is other[5_000 // regions.CHUNK]
    assert copy.find(18) == (0, 0)
    owned = mine[0]
    region.put(19, 5 << PLACE, 97)
    assert mine[0] is owned
