"""One lock per volume: taken with a deadline, able to say who has it, gone when unwanted."""

import threading
import time

import pytest

from backends.errors import Busy
from driver.locks import Locks


@pytest.fixture
def seconds() -> list[float]:
    return [100.0]


@pytest.fixture
def locks(seconds: list[float]) -> Locks:
    return Locks(lambda: seconds[0])


def test_busy_says_what_is_done_and_since_when(locks: Locks, seconds: list[float]) -> None:
    with locks.hold("db", "mounting", 1):
        seconds[0] += 7
        with (
            pytest.raises(Busy, match="volume db is busy: mounting since 7 s; try again"),
            locks.hold("db", "removing", 0.01),
        ):
            pytest.fail("two at once")
    with locks.hold("db", "removing", 0):
        pass


def test_other_names_do_not_wait(locks: Locks) -> None:
    with locks.hold("db", "mounting", 0), locks.hold("web", "mounting", 0):
        pass


def test_an_error_inside_frees_it(locks: Locks) -> None:
    with pytest.raises(ValueError, match="inside"), locks.hold("db", "mounting", 0):
        raise ValueError("inside")
    with locks.hold("db", "mounting", 0):
        pass


def test_nothing_is_left_of_a_lock_that_nobody_wants(locks: Locks) -> None:
    for number in range(100):
        with locks.hold(f"v{number}", "mounting", 0):
            assert len(locks._locks) == 1
    with locks.hold("db", "mounting", 0), pytest.raises(Busy), locks.hold("db", "x", 0):
        pass
    assert locks._locks == {}


def test_one_at_a_time_and_all_get_their_turn(locks: Locks) -> None:
    inside, most, turns = [0], [0], [0]

    def work() -> None:
        for _ in range(20):
            with locks.hold("db", "counting", 30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                turns[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns == [160]
    assert locks._locks == {}
