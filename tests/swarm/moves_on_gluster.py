"""A database on GlusterFS, moved by one failure after another; then with the storage failing, too.

Too long for `make test`: part of `make soak`, or by hand:

    python -m pytest -s tests/swarm/moves_on_gluster.py
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab import images
from tests.lab.gluster import Pool
from tests.lab.gluster_storage import VOLUME, GlusterStorage
from tests.lab.namespace import Failed
from tests.lab.node import DRIVER
from tests.lab.storage import Storage
from tests.lab.swarm import Member, Swarm
from tests.swarm.database import SEED, Chaos, DatabaseMoves, database, report
from tests.swarm.failures import Failure, failures
from tests.swarm.ledger_client import LedgerClient
from tests.swarm.rounds import table

QUIET = 4.0
"""Seconds without a confirmed row after which none is expected."""
DEADLINE = 60.0
"""Docker gives up on a plugin's answer after 30 s, and asks for a volume before it mounts it."""


class OnGluster(DatabaseMoves):
    """Leaves its Swarm empty, and the servers up."""

    @pytest.fixture(autouse=True)
    def _cleared(self, swarm: Swarm) -> Iterator[None]:
        yield
        assert isinstance(swarm.storage, GlusterStorage)
        assert swarm.storage.pool is not None
        nodes = swarm.storage.pool.nodes
        back(swarm.storage.pool, *(number for number in range(3) if not nodes[number].up))
        swarm.clear()


class TestDatabaseOnGluster(OnGluster):
    """Then servers die, hang and come back under the database."""

    rounds = 10

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return GlusterStorage()

    @pytest.fixture
    def pool(self, swarm: Swarm) -> Pool:
        assert isinstance(swarm.storage, GlusterStorage)
        assert swarm.storage.pool is not None
        return swarm.storage.pool

    @pytest.fixture
    def client(self, swarm: Swarm) -> Iterator[LedgerClient]:
        """The database on the volume `db`, being written."""
        with database(swarm) as client:
            yield client

    @pytest.fixture
    def chaos(self, swarm: Swarm, client: LedgerClient) -> Iterator[Chaos]:
        """Reports what it did, also when a test fails."""
        made = Chaos(swarm, client)
        yield made
        report(table(made.done, len(client.acked), SEED))

    @pytest.fixture
    def kinds(self, swarm: Swarm) -> dict[str, Failure]:
        """What may happen to a node."""
        return {failure.name: failure for failure in failures(swarm.storage, chaos=False)}

    def test_two_nodes_share_a_directory(self, swarm: Swarm) -> None:
        one, two = swarm.members[1:]
        one.docker("volume", "create", "-d", DRIVER, "-o", "access=shared", "pics")
        for member in (one, two):
            command = ("--network", "none", "-v", "pics:/v", images.SMALL, "sleep", "600")
            member.docker("run", "-d", "--name", member.name, *command)
        for number, (writer, reader) in enumerate([(one, two), (two, one)] * 3):
            writer.docker("exec", writer.name, "sh", "-c", f"echo {writer.name} > /v/{number}")
            seen = reader.docker("exec", reader.name, "cat", f"/v/{number}")
            assert seen.strip() == writer.name
        for member in (one, two):
            member.docker("rm", "-f", member.name)

    @pytest.mark.timeout(0)
    def test_one_server_dies_and_is_healed_under_it(
        self, pool: Pool, chaos: Chaos, kinds: dict[str, Failure]
    ) -> None:
        """The first of the list: whoever mounts meanwhile has to ask the next. Then another hangs
        for a while."""
        pool.nodes[0].kill()
        chaos.round(kinds["drained"])
        chaos.round(kinds["killed"])
        back(pool, 0)
        chaos.round(kinds["drained"])
        pool.wait_healed(VOLUME, seconds=300)
        pool.nodes[1].signal_bricks(signal.SIGSTOP)
        thaw = threading.Timer(8, pool.nodes[1].signal_bricks, [signal.SIGCONT])
        thaw.start()
        try:
            chaos.round(kinds["drained"])
        finally:
            thaw.join()
        pool.wait_healed(VOLUME, seconds=300)

    @pytest.mark.timeout(0)
    def test_two_servers_are_lost(
        self, swarm: Swarm, pool: Pool, chaos: Chaos, client: LedgerClient
    ) -> None:
        """Nothing is confirmed, whoever asks is told so in time, and with the servers the
        database comes back."""
        with chaos.storage_fails("two servers lost"):
            pool.nodes[1].kill()
            pool.nodes[2].kill()
            await_quiet(swarm, client)
            for attempt in (create, mount):
                for member in swarm.members[1:]:
                    assert "does not answer" in refused(attempt, member)
            back(pool, 1, 2)
        pool.wait_healed(VOLUME, seconds=300)

    @pytest.mark.timeout(0)
    def test_an_attempt_to_split_the_data(
        self, swarm: Swarm, pool: Pool, chaos: Chaos, client: LedgerClient
    ) -> None:
        """One server misses rows, and is then alone: it confirms none, and forgets none."""
        with chaos.storage_fails("old server alone"):
            pool.nodes[0].kill()
            missed = time.monotonic()
            swarm.wait(lambda: len(client.since(missed)) > 20, "rows without it", seconds=120)
            pool.nodes[1].kill()
            pool.nodes[2].kill()
            await_quiet(swarm, client)
            pool.nodes[0].start()
            pool.wait_node(pool.nodes[0])
            alone = time.monotonic()
            time.sleep(3 * QUIET)
            assert client.since(alone) == [], "a server that lacks rows confirms new ones"
            back(pool, 1, 2)
        pool.wait_healed(VOLUME, seconds=300)
        split = pool.gluster("volume", "heal", VOLUME, "info", "split-brain")
        assert split.count("in split-brain: 0") == 3, split


class TestDatabaseOnGlusterImages(OnGluster):
    rounds = 5

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return GlusterStorage("image")


def back(pool: Pool, *numbers: int) -> None:
    """Start servers that were killed; returns when their bricks are online."""
    for number in numbers:
        pool.nodes[number].start()
    for node in pool.nodes:
        if node.up:
            pool.wait_node(node)
    pool.wait_online(VOLUME)


def await_quiet(swarm: Swarm, client: LedgerClient) -> None:
    """Until no row is confirmed any more."""

    def quiet() -> bool:
        return not client.since(time.monotonic() - QUIET)

    swarm.wait(quiet, "no row is confirmed", seconds=60)


def create(member: Member) -> None:
    """A new volume."""
    member.docker("volume", "create", "-d", DRIVER, "other", seconds=DEADLINE)


def mount(member: Member) -> None:
    """The database's volume, in another container."""
    member.docker("run", "--rm", "-v", "db:/v", "small", "true", seconds=DEADLINE)


def refused(attempt: Callable[[Member], None], member: Member) -> str:
    """The sentence with which it fails, in time."""
    with pytest.raises(Failed) as error:
        attempt(member)
    return error.value.output
