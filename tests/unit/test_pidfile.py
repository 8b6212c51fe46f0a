"""Finding a process that outlives the service, whatever became of the file with its pid."""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.host.pidfile import Daemon
from backends.host.waiting import wait_until

_numbers = itertools.count()


@pytest.fixture
def mark() -> str:
    """Seconds to sleep that nobody else sleeps."""
    return f"{1000 + os.getpid()}.0{next(_numbers)}"


@pytest.fixture
def process(mark: str) -> Iterator["subprocess.Popen[bytes]"]:
    started = subprocess.Popen(["sleep", mark])
    assert wait_until(lambda: named(started.pid, b"sleep"), 10)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def named(pid: int, program: bytes) -> bool:
    """Whether it has become that program."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(program)


@pytest.mark.parametrize("written", ["own", "another's", "no number", "", None])
def test_a_pid_file_that_is_wrong_hides_nobody(
    process: "subprocess.Popen[bytes]", mark: str, tmp_path: Path, written: str | None
) -> None:
    """What is taken for dead is not stopped by a cut, and goes on writing."""
    texts = {"own": str(process.pid), "another's": str(os.getpid())}
    file = tmp_path / "pid"
    if written is not None:
        file.write_text(texts.get(written, written))
    daemon = Daemon(file, "sleep", mark)
    assert daemon.alive()
    silenced = daemon.silence()
    stat = Path(f"/proc/{process.pid}/stat")
    assert wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 10)
    silenced.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert not daemon.alive()


def test_a_process_of_another_mark_is_somebody_else(
    process: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    (tmp_path / "pid").write_text(str(process.pid))
    assert not Daemon(tmp_path / "pid", "sleep", "1.2345").alive()
