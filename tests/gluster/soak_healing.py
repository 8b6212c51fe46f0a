"""A server that dies during a write run, comes back, and is healed.

In `make soak`: how long the pool takes to heal depends on what else the machine does.
"""

import pytest

from tests.gluster.conftest import VOLUME, Open
from tests.gluster.test_faults import copies, pool, text_of
from tests.gluster.test_fencing import attach, make
from tests.gluster.writing import Writer
from tests.lab.gluster import Pool

__all__ = ["pool"]

pytestmark = pytest.mark.lab


def test_a_node_dies_and_comes_back_during_a_write_run(open_node: Open, pool: Pool) -> None:
    a = open_node()
    volume = make(a)
    attachment = attach(a, volume)
    with Writer(attachment.target / "lines", pause=0.01) as writer:
        writer.wait_for(30)
        pool.nodes[1].kill()
        writer.wait_for(100)
        pool.nodes[1].start()
        pool.wait_node(pool.nodes[1])
        pool.wait_online(VOLUME)
        writer.wait_for(50)
        assert not writer.error()
        assert writer.longest() < 8
        acknowledged = writer.acknowledged()
    lines = text_of(attachment).splitlines()
    assert lines == [f"{number:09}" for number in range(len(lines))]
    assert len(lines) >= acknowledged
    pool.wait_healed(VOLUME, seconds=240)
    assert len(copies(pool, a, volume)) == 1
    a.detach(attachment)
