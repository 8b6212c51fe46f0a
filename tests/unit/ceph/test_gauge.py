"""A subvolume that does not say how much it holds hangs nobody, and keeps one thread."""

import threading
from pathlib import Path

import pytest

from backends.ceph import gauge
from backends.ceph.gauge import Gauge
from backends.errors import Unavailable
from backends.host.waiting import wait_until

HERE = Path("/mounts/db")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is, until this is set; then 7."""
    event = threading.Event()
    monkeypatch.setattr(gauge, "_below", lambda target: 7 if event.wait(60) else 0)
    return event


def asking() -> int:
    return sum(thread.name == "bounded" for thread in threading.enumerate())


def test_one_thread_waits_however_often_it_is_asked(answered: threading.Event) -> None:
    before = asking()
    measured = Gauge(0.01)
    for _ in range(5):
        with pytest.raises(Unavailable, match="does not say in time"):
            measured.used("u", HERE)
    assert asking() == before + 1
    answered.set()
    assert wait_until(lambda: asking() == before, 60)
    assert measured.used("u", HERE) == 7


def test_what_the_kernel_refuses_is_said_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Gauge(60)
    with pytest.raises(OSError, match="No such file"):
        measured.used("u", HERE)
    monkeypatch.setattr(gauge, "_below", lambda target: 3)
    assert measured.used("u", HERE) == 3
