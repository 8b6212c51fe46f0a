"""Calls with an end: the caller is answered, the work is finished, and one of them gives up."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from backends.errors import DeadlineExceeded, NotFound
from driver.deadline import Call


def test_the_result_and_the_error_come_back() -> None:
    assert Call[int](5, time.monotonic).run(lambda _: 42, "counting") == 42

    def fail(_: Call[int]) -> int:
        raise NotFound("no such volume")

    with pytest.raises(NotFound, match="no such volume"):
        Call[int](5, time.monotonic).run(fail, "failing")


def test_remaining_is_what_is_left_and_never_negative() -> None:
    seconds = [10.0]
    call = Call[None](3, lambda: seconds[0])
    assert call.remaining() == 3
    seconds[0] = 12
    assert call.remaining() == 1
    seconds[0] = 99
    assert call.remaining() == 0


def test_late_work_goes_on_and_learns_that_nobody_waits() -> None:
    go, said = threading.Event(), threading.Event()
    answers: list[bool] = []

    def work(call: Call[None]) -> None:
        go.wait(10)
        answers.append(call.settle())
        said.set()

    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="mounting db takes too long; it goes on"):
        Call[None](0.05, time.monotonic).run(work, "mounting db")
    assert time.monotonic() - started < 5
    go.set()
    assert said.wait(10)
    assert answers == [False]


def test_a_caller_that_was_promised_an_answer_waits_for_it() -> None:
    """Between `settle` and the answer lies the ledger's write: no giving up there."""

    def work(call: Call[str]) -> str:
        assert call.settle()
        time.sleep(0.2)
        return "done"

    assert Call[str](0.05, time.monotonic).run(work, "mounting db") == "done"


@pytest.fixture
def restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_exactly_one_of_worker_and_caller_gives_up() -> None:
    """Both act at the same moment, some hundred times: never both, never neither."""
    for number in range(300):
        settled: list[bool] = []
        finished = threading.Event()

        def work(
            call: Call[str], settled: list[bool] = settled, finished: threading.Event = finished
        ) -> str:
            while call.remaining() > 0:
                pass
            settled.append(call.settle())
            finished.set()
            return "done"

        try:
            Call[str](0.001 + number % 7 * 1e-5, time.monotonic).run(work, "racing")
            answered = True
        except DeadlineExceeded:
            answered = False
        assert finished.wait(10)
        assert settled == [answered]


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    for _ in range(50):
        Call[None](5, time.monotonic).run(lambda _: None, "nothing")
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
