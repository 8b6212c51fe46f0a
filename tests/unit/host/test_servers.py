"""FUSE servers are found by name and last argument, and by nothing that merely resembles them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.host import servers
from backends.host.waiting import wait_until

PLACE = Path(f"86399.{os.getpid()}")
"""What `sleep` takes for a time stands for a mount point; other runs have other ones."""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "0", str(PLACE)]) as process:
        # A program that is being started has no arguments for a moment.
        assert wait_until(lambda: servers.serving("sleep", PLACE) == [process.pid], 10)
        yield process
        process.kill()


def test_it_is_found_waited_for_and_ended(server: subprocess.Popen[bytes]) -> None:
    assert servers.serving("sleep", PLACE) == [server.pid]
    assert servers.serving("mount", PLACE) == []
    assert servers.serving("sleep", Path("0")) == []
    assert not servers.ended("sleep", PLACE, 0.05)
    assert servers.kill("sleep", PLACE)
    assert servers.ended("sleep", PLACE, 0.05)
    assert server.wait(5) == -9


def test_nothing_to_end(server: subprocess.Popen[bytes]) -> None:
    assert servers.kill("sleep", Path("86399.5"))
    assert server.poll() is None
