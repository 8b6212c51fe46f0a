"""When is a volume that nobody has mounted let go of?"""

from types import MappingProxyType

from driver.idleness import Idleness, Patience
from driver.ledger import Promise
from driver.lifecycle import Entry, State

NEVER = float("-inf")
HELD = Promise("db", "p", "u1", Entry(State.ATTACHED, MappingProxyType({"x": 1})))
UNHELD = Promise("db", "p", "u1", Entry(State.ATTACHED))
DETACHING = Promise("db", "p", "u1", Entry(State.DETACHING))
PATIENCE = Patience(unheld=5, vanished=30, unseen=300)


def looks(promise: Promise, *looks: tuple[float, bool], asked: float = NEVER) -> list[bool]:
    idleness = Idleness(PATIENCE)
    return [idleness.observe(promise, seen=seen, asked=asked, now=now) for now, seen in looks]


def test_a_volume_that_a_process_has_is_never_idle() -> None:
    for promise in (HELD, UNHELD, DETACHING):
        assert looks(promise, (0, True), (1e6, True)) == [False, False]


def test_what_is_being_detached_is_let_go_at_once() -> None:
    assert looks(DETACHING, (0, False)) == [True]


def test_what_nobody_holds_is_let_go_soon() -> None:
    assert looks(UNHELD, (0, False), (4, False), (5, False)) == [False, False, True]


def test_after_its_processes_are_gone_a_reference_counts_for_a_while() -> None:
    assert looks(HELD, (0, True), (1, False), (30, False), (31, False), asked=0) == [
        False,
        False,
        False,
        True,
    ]


def test_a_reference_whose_process_never_came_counts_for_long() -> None:
    """The engine copies an image's files into the volume before any container starts."""
    assert looks(HELD, (10, False), (300, False), (310, False), asked=10) == [False, False, True]


def test_a_new_mount_begins_the_wait_anew() -> None:
    idleness = Idleness(PATIENCE)
    assert not idleness.observe(HELD, seen=True, asked=0, now=0)
    assert not idleness.observe(HELD, seen=False, asked=0, now=10)
    assert not idleness.observe(HELD, seen=False, asked=39, now=40)
    assert not idleness.observe(HELD, seen=False, asked=39, now=338)
    assert idleness.observe(HELD, seen=False, asked=39, now=339)


def test_after_a_restart_nothing_was_seen_and_the_longest_wait_holds() -> None:
    """A service that restarted in the middle of a copy must not take the volume away."""
    assert looks(HELD, (0, False), (31, False), (299, False), (300, False)) == [
        False,
        False,
        False,
        True,
    ]


def test_it_stays_idle_until_something_happens() -> None:
    """A detach that failed is tried again at the next look."""
    assert looks(UNHELD, (0, False), (5, False), (6, False), (7, True), (8, False)) == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_it_forgets_what_is_no_longer_there() -> None:
    idleness = Idleness(PATIENCE)
    idleness.observe(HELD, seen=True, asked=0, now=0)
    idleness.observe(UNHELD, seen=False, asked=0, now=0)
    idleness.keep({"u2"})
    assert idleness._since == idleness._seen == {}
