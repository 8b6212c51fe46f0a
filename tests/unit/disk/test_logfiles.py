"""The files of a local log, used from several threads: readers and a sync ask for no lock."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backends.disk.log.logfiles import LogFiles
from backends.errors import HostError


class Interrupted(dict[str, int]):
    """Lets another thread in, once, between looking for a file and taking it."""

    def __init__(self, files: dict[str, int], meanwhile: Callable[[], None]) -> None:
        super().__init__(files)
        self._meanwhile: list[Callable[[], None]] = [meanwhile]

    def _let_in(self) -> None:
        if self._meanwhile:
            self._meanwhile.pop()()

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self._let_in()
        return found

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        self._let_in()
        return found


def opened(directory: Path) -> int:
    """How many descriptors this process has of files in a directory."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += os.readlink(entry).startswith(f"{directory}/")
    return count


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    made = LogFiles(tmp_path / "log")
    assert made.names() == []
    made.allocate("segment-1", 8192)
    made.write("segment-1", 0, [b"a" * 4096])
    return made


def test_a_segment_that_is_used_again_while_it_is_synced_is_no_failure(files: LogFiles) -> None:
    files._open = Interrupted(files._open, lambda: files.rename("segment-1", "segment-9"))
    files.sync(["segment-1"])


def test_a_segment_that_is_used_again_while_it_is_read_is_not_there(files: LogFiles) -> None:
    """The reader looks again, and finds the block in the store."""
    files._open = Interrupted(files._open, lambda: files.rename("segment-1", "segment-9"))
    with suppress(HostError):
        assert files.pread("segment-1", 0, 4096) == b"a" * 4096
    with pytest.raises(HostError):
        files.pread("segment-1", 0, 4096)


def test_two_that_open_one_file_at_once_leave_one_descriptor(
    files: LogFiles, tmp_path: Path
) -> None:
    files.close()
    files._open = Interrupted({}, lambda: void(files.pread("segment-1", 0, 1)))
    assert files.pread("segment-1", 0, 4096) == b"a" * 4096
    assert opened(tmp_path / "log") == 1
    files.close()
    assert opened(tmp_path / "log") == 0


def void(value: object) -> None:
    """Nobody wants it."""
