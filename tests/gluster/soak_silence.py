"""A server that says nothing when a client starts: neither its glusterd nor its bricks answer, and
nobody says that they do not. What a cut cable or a hung machine looks like; a dead process is
refused by its kernel, at once.

In `make soak`: Gluster waits ten seconds for such a server, at every start of a client.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backends.options import Size
from tests.gluster.conftest import VOLUME, Open
from tests.gluster.test_faults import pool, timed
from tests.gluster.test_fencing import LAYOUTS, attach, make
from tests.lab.gluster import Node, Pool

__all__ = ["pool"]

pytestmark = pytest.mark.lab

CALL = 25.0
"""Seconds that the driver gives a call: Docker waits for 30."""


@contextmanager
def silent(node: Node) -> Iterator[None]:
    """Nothing of this server moves during the block."""
    pids = list(node.box.processes())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("number", [0, 1, 2], ids=["first", "second", "third"])
@LAYOUTS
def test_a_server_that_says_nothing_holds_up_no_mount(
    open_node: Open, pool: Pool, number: int, size: Size | None
) -> None:
    """With Gluster's own ping-timeout, which is longer than anybody waits for a mount."""
    pool.set(VOLUME, "network.ping-timeout", "42")
    volume = make(open_node("before"), size)
    with silent(pool.nodes[number]):
        a = open_node("a")
        took, error = timed(lambda: a.get("db"))
        assert error is None
        assert took < CALL
        took, error = timed(lambda: attach(a, volume))
        assert error is None
        assert took < CALL
        (shown,) = a.attachments()
        (shown.target / "f").write_text("written without it")
        assert (shown.target / "f").read_text() == "written without it"
    a.detach(shown)
