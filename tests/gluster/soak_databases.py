"""`for_databases`: what clients do without the help of the Gluster volume's own options."""

import os
import signal
from pathlib import Path

import pytest

from backends.options import Size
from tests.gluster.conftest import VOLUME, Open
from tests.gluster.test_faults import pool
from tests.gluster.test_fencing import attach, make
from tests.gluster.writing import Writer
from tests.lab.gluster import Pool

__all__ = ["pool"]

pytestmark = pytest.mark.lab

LAYOUTS = pytest.mark.parametrize("size", [None, Size(64 << 20)], ids=["directory", "image"])


@LAYOUTS
def test_what_was_synced_without_a_server_outlives_the_client(
    open_node: Open, pool: Pool, size: Size | None
) -> None:
    """A server is away, a client syncs and dies at once: when the server is back with its old
    copy, nobody takes that for the right one."""
    a, b = open_node("a", for_databases=True), open_node("b")
    volume = make(a, size)
    here = attach(a, volume)
    absent = pool.nodes[0]
    with Writer(here.target / "lines") as writer:
        writer.wait_for(20)
        absent.kill()
        writer.wait_for(50, seconds=60)
        pid = a.clients.client(volume.uuid).daemon.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        writer.wait_failed(seconds=30)
        acknowledged = writer.acknowledged()
    absent.start()
    pool.wait_node(absent)
    pool.wait_online(VOLUME)
    pool.wait_healed(VOLUME)
    other = attach(b, volume)
    lines = Path(other.target / "lines").read_bytes().splitlines()
    assert len(lines) >= acknowledged
    assert lines[:acknowledged] == [b"%09d" % number for number in range(acknowledged)]
    b.detach(other)
