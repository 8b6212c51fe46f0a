"""A call that may hang, and whoever waits for it."""

import threading

import pytest

from backends.errors import Unavailable
from backends.host.bounded import Bounded

LATE = Unavailable("nobody answers")


def test_what_it_returned_and_raised() -> None:
    assert Bounded(lambda: 7).result(60, LATE) == 7
    assert Bounded(lambda: None).result(60, LATE) is None
    failed = Bounded(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed.result(60, LATE)


def test_one_that_is_late_goes_on_and_can_be_waited_for_again() -> None:
    released = threading.Event()
    call = Bounded(lambda: released.wait(60))
    assert not call.done(0.01)
    with pytest.raises(Unavailable, match="nobody answers"):
        call.result(0.01, LATE)
    assert call.running()
    released.set()
    assert call.result(60, LATE)
    assert not call.running()
