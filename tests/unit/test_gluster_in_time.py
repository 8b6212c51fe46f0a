"""Calls to a pool that may not answer."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import Unavailable
from backends.gluster.client import Client, Export
from backends.gluster.control import Control
from backends.gluster.in_time import InTime, in_time
from backends.gluster.options import Servers

SOON = 0.02


@pytest.fixture
def answer() -> Iterator[threading.Event]:
    """What hanging calls wait for; they all end with the test."""
    made = threading.Event()
    yield made
    made.set()


def test_a_question_that_takes_too_long_is_unavailable(answer: threading.Event) -> None:
    with pytest.raises(Unavailable, match="does not answer within 0"):
        in_time("the pool", SOON, answer.wait)
    with pytest.raises(ZeroDivisionError):
        in_time("the pool", 5, lambda: 1 / 0)
    assert in_time("the pool", 5, lambda: None) is None


def hang(guard: InTime, answer: threading.Event, times: int) -> None:
    """So many calls that nobody answers in time."""
    for _ in range(times):
        with pytest.raises(Unavailable):
            guard(answer.wait)


def test_who_leaves_many_without_an_answer_is_replaced_once(answer: threading.Event) -> None:
    replaced: list[None] = []
    guard = InTime("the pool", SOON, lambda: replaced.append(None))
    hang(guard, answer, InTime.MOST - 1)
    assert guard(lambda: 1) == 1
    assert not replaced
    hang(guard, answer, InTime.MOST)
    assert len(replaced) == 1


def test_what_a_call_says_when_it_is_ended_is_no_answer(answer: threading.Event) -> None:
    """Whoever is replaced ends its calls, with an error of the kernel's; the pool was silent."""
    ended: list[threading.Thread] = []

    def ask() -> None:
        ended.append(threading.current_thread())
        answer.wait()
        raise OSError(103, "Software caused connection abort")

    def replace() -> None:
        answer.set()
        for thread in ended:
            thread.join()

    guard = InTime("the pool", SOON, replace)
    for _ in range(InTime.MOST):
        with pytest.raises(Unavailable):
            guard(ask)
    assert answer.is_set()


def test_calls_that_were_only_late_are_no_reason(answer: threading.Event) -> None:
    """A pool that is slow for a day is not hung."""
    replaced: list[None] = []
    guard = InTime("the pool", SOON, lambda: replaced.append(None))
    for _ in range(2 * InTime.MOST):
        late = threading.Event()
        waiting: list[threading.Thread] = []

        def ask(late: threading.Event = late, into: list[threading.Thread] = waiting) -> None:
            into.append(threading.current_thread())
            late.wait()

        with pytest.raises(Unavailable):
            guard(ask)
        late.set()
        waiting[0].join()
    assert not replaced


@pytest.mark.parametrize("mounted", [True, False])
def test_only_a_client_that_is_mounted_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mounted: bool
) -> None:
    ended: list[Path] = []
    monkeypatch.setattr(Client, "usable", lambda client: mounted)
    monkeypatch.setattr(Client, "cut_off", lambda client: ended.append(client.point))
    export = Export(Servers("gfs1"), "r3")
    Control(export, "kedge", tmp_path / "control", 1.0).replace()
    assert ended == [tmp_path / "control"] * mounted
