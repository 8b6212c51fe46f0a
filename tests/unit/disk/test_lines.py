"""What a cache remembers of its lines, against a dict, and what it takes of memory."""

import gc
import random
import tracemalloc
from hashlib import blake2b

import pytest

from backends.disk.core.lines import Lines


def _name(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


@pytest.mark.parametrize("count", [1, 3, 16, 100])
def test_it_is_a_dict_of_bounded_size(count: int) -> None:
    chance, lines, held = random.Random(count), Lines(count), dict[int, int]()
    for _ in range(1500):
        number = chance.randrange(2 * count + 1)
        what = chance.random()
        if what < 0.5:
            assert lines.use(_name(number)) == held.get(number)
        elif what < 0.6:
            lines.drop(_name(number))
            held.pop(number, None)
        elif number not in held:
            line = lines.spare()
            held = {other: place for other, place in held.items() if place != line}
            if chance.random() < 0.9:  # else it could not be written
                lines.put(_name(number), line)
                held[number] = line
        assert len(lines) == len(held) == len(set(held.values()))
        assert (_name(number) in lines) == (number in held)
    assert {n: lines.use(_name(n)) for n in range(2 * count + 1) if n in held} == held


def test_what_is_free_goes_first_and_then_what_nobody_used() -> None:
    lines = Lines(8)
    lines.restore([(2, _name(2)), (5, _name(5)), (6, _name(5))])
    assert len(lines) == 2
    for number in (10, 11, 12, 13, 14, 15):
        lines.put(_name(number), lines.spare())
    assert all(_name(number) in lines for number in (2, 5, 10, 11, 12, 13, 14, 15))
    used = {2, 10, 14}
    for number in used:
        lines.use(_name(number))
    for number in range(20, 25):
        lines.put(_name(number), lines.spare())
    assert all(_name(number) in lines for number in (*used, 20, 21, 22, 23, 24))
    lines.drop(_name(22))
    lines.put(_name(30), lines.spare())
    assert all(_name(number) in lines for number in (*used, 20, 21, 23, 24, 30))


def test_two_names_that_overlap_in_a_bucket_are_told_apart() -> None:
    lines = Lines(4)
    first = bytes(range(1, 9))
    lines.put(first, 0x01)
    hidden = first[4:] + (1).to_bytes(4, "little")  # lies across the entry, not at its beginning
    assert lines.use(hidden) is None
    lines.put(hidden, 2)
    assert (lines.use(first), lines.use(hidden)) == (1, 2)
    lines.drop(hidden)
    assert (lines.use(first), lines.use(hidden)) == (1, None)


def test_a_line_takes_little_memory() -> None:
    names = [_name(number) for number in range(4096)]
    gc.collect()
    tracemalloc.start()
    try:
        lines = Lines(len(names))
        for name in names:
            lines.put(name, lines.spare())
        assert tracemalloc.get_traced_memory()[0] < 30 * len(names)
    finally:
        tracemalloc.stop()
