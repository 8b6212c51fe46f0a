"""A file system that is held still: writers wait, and go on whatever becomes of who asked."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.errors import HostError
from backends.host import freezing
from backends.host.freezing import Freezer
from backends.host.waiting import wait_until
from tests.local.disk import Disk

pytestmark = pytest.mark.lab


class Writing:
    """A thread that writes one file and is done when the file system lets it."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def done(self, seconds: float) -> bool:
        """Whether it got through in that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _write(self) -> None:
        (self._place / "written").write_text("x")


@pytest.fixture
def freezer(tmp_path: Path) -> Freezer:
    return Freezer(tmp_path / "notes")


def test_writers_wait_for_the_end_of_the_block(disk: Disk, freezer: Freezer) -> None:
    with freezer.frozen("v", disk.path):
        writing = Writing(disk.path)
        assert not writing.done(0.3)
    assert writing.done(30)
    assert list(freezer.notes.iterdir()) == []


def _frozen(freezer: Freezer, place: Path, work: Callable[[], None], seconds: float = 60) -> None:
    with freezer.frozen("v", place, seconds):
        work()


def test_writers_go_on_after_an_error(disk: Disk, freezer: Freezer) -> None:
    writing: list[Writing] = []

    def work() -> None:
        writing.append(Writing(disk.path))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _frozen(freezer, disk.path, work)
    assert writing[0].done(30)


def test_a_block_that_takes_too_long_is_told_so(disk: Disk, freezer: Freezer) -> None:
    def work() -> None:
        assert Writing(disk.path).done(30)

    with pytest.raises(HostError, match="not enough for its snapshot"):
        _frozen(freezer, disk.path, work, seconds=0.3)


def test_frozen_by_somebody_else(disk: Disk, freezer: Freezer) -> None:
    other = Freezer(freezer.notes.with_name("others"))
    with other.frozen("v", disk.path), pytest.raises(HostError, match="frozen already"):
        _frozen(freezer, disk.path, lambda: None)


def test_a_service_that_is_killed_leaves_nothing_frozen(disk: Disk, freezer: Freezer) -> None:
    pid = _killed_while_frozen(freezer, disk.path, seconds=60)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert Writing(disk.path).done(30)


def test_what_both_could_not_thaw_the_next_start_thaws(
    disk: Disk, freezer: Freezer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "_GUARD", "import os; os.write(0, b'!')")  # a guard that is gone
    pid = _killed_while_frozen(freezer, disk.path, seconds=60)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    writing = Writing(disk.path)
    assert not writing.done(0.3)
    freezer.recover({"v": disk.path})
    assert writing.done(30)
    assert list(freezer.notes.iterdir()) == []
    freezer.recover({"v": disk.path})


def _killed_while_frozen(freezer: Freezer, place: Path, seconds: float) -> int:
    """A process that has the file system frozen, for a minute."""
    pid = os.fork()
    if pid == 0:
        with freezer.frozen("v", place, seconds):
            (freezer.notes / "frozen").touch()
            time.sleep(60)
        os._exit(0)
    assert wait_until((freezer.notes / "frozen").exists, 30)
    (freezer.notes / "frozen").unlink()
    return pid
