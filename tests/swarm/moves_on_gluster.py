"""A database on GlusterFS, moved by one failure after another; then with the storage failing, too.

Too long for `make test`: part of `make soak`, or by hand:

    python -m pytest -s tests/swarm/moves_on_gluster.py
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from tests.lab.gluster_storage import VOLUME, GlusterStorage
from tests.lab.storage import Storage
from tests.lab.swarm import Swarm
from tests.swarm.database import Chaos, DatabaseMoves, database
from tests.swarm.failures import failures


class TestDatabaseOnGluster(DatabaseMoves):
    rounds = 10

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return GlusterStorage()

    @pytest.fixture(autouse=True)
    def _cleared(self, swarm: Swarm) -> Iterator[None]:
        yield
        swarm.clear()

    @pytest.mark.timeout(0)
    def test_a_brick_dies_and_is_healed_under_it(self, swarm: Swarm) -> None:
        """One server loses its power while the database is written and moved, and is healed."""
        assert isinstance(swarm.storage, GlusterStorage)
        pool = swarm.storage.pool
        assert pool is not None
        kinds = {failure.name: failure for failure in failures(swarm.storage, chaos=False)}
        with database(swarm) as client:
            chaos = Chaos(swarm, client)
            pool.nodes[1].kill()
            chaos.round(kinds["drained"])
            chaos.round(kinds["killed"])
            pool.nodes[1].start()
            pool.wait_node(pool.nodes[1])
            pool.wait_online(VOLUME)
            chaos.round(kinds["drained"])
            pool.wait_healed(VOLUME, seconds=180)
            pool.nodes[0].signal_bricks(signal.SIGSTOP)
            thaw = threading.Timer(8, pool.nodes[0].signal_bricks, [signal.SIGCONT])
            thaw.start()
            try:
                chaos.round(kinds["drained"])
            finally:
                thaw.join()
            pool.wait_healed(VOLUME, seconds=180)


class TestDatabaseOnGlusterImages(DatabaseMoves):
    rounds = 5

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return GlusterStorage("image")
