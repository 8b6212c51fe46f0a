"""A backlog reaches the store in records of bounded size, each the oldest of what is left."""

from array import array

from backends.disk.core.logformat import Entry, Kind
from backends.disk.core.overlay import Dirty, Overlay


def write(seq: int, block: int, count: int = 1) -> Entry:
    return Entry(
        seq, Kind.WRITE, block * 4096, count * 4096, seq, 7, 0, array("I", [seq] * count), seq << 20
    )


def discard(seq: int, block: int, count: int) -> Entry:
    return Entry(seq, Kind.DISCARD, block * 4096, count * 4096, seq, 7, 0)


def test_a_batch_ends_with_the_write_that_fills_it() -> None:
    over = Overlay(seal_blocks=4)
    for seq in range(1, 8):
        over.take(write(seq, 10 * seq, 2), now=float(seq))
    sent: list[tuple[int, list[int]]] = []
    while over:
        assert over.since == 2 * len(sent) + 1
        changes = over.changes()
        sent.append((changes.upto, sorted(changes.blocks)))
        over.shipped(changes)
    assert sent == [
        (2, [10, 11, 20, 21]),
        (4, [30, 31, 40, 41]),
        (6, [50, 51, 60, 61]),
        (7, [70, 71]),
    ]
    assert over.since is None


def test_an_earlier_batch_keeps_what_a_later_one_replaces() -> None:
    """Or a prefix of the records would lack it."""
    over = Overlay(seal_blocks=2)
    over.take(write(1, 5))
    over.take(write(2, 6))
    over.take(write(3, 5))
    first = over.changes()
    assert (first.upto, first.blocks[5].seq, first.blocks[6].seq) == (2, 1, 2)
    found = over.find(5)
    assert isinstance(found, Dirty)
    assert found.seq == 3
    over.shipped(first)
    assert over.changes().blocks[5].seq == 3


def test_a_hole_hides_earlier_batches_and_is_hidden_by_later_writes() -> None:
    over = Overlay(seal_blocks=1)
    over.take(write(1, 5))
    over.take(discard(2, 0, 10))
    assert over.find(5) is True
    over.take(write(3, 5))
    assert isinstance(over.find(5), Dirty)
    assert over.find(6) is True
    assert over.find(11) is False


def test_what_is_being_shipped_takes_nothing_in_any_more() -> None:
    over = Overlay()
    over.take(write(1, 1))
    changes = over.changes()
    over.take(write(2, 2))
    assert sorted(changes.blocks) == [1]
    assert over.changes() == changes, "what was not shipped is shipped again, as it was"
    over.shipped(changes)
    assert over.changes().upto == 2


def test_what_a_predecessor_left_is_sent_in_batches_that_begin_small_and_double() -> None:
    over = Overlay(seal_blocks=2000)
    over.inherit(write(seq, 100 * seq, 100) for seq in range(1, 61))
    over.take(write(61, 9999))
    sizes = []
    while over:
        changes = over.changes()
        sizes.append(len(changes.blocks))
        over.shipped(changes)
    assert sizes == [300, 600, 1100, 2000, 2000, 1]


def test_small_batches_stay_small() -> None:
    over = Overlay(seal_blocks=2)
    over.inherit(write(seq, seq) for seq in range(1, 6))
    assert len(over.changes().blocks) == 2
