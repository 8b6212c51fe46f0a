"""MariaDB as a Swarm service on any storage, a failure every few seconds, and a ledger of every
confirmed row.

To run it on another storage, subclass both and give the class a fixture:

    class MyCluster(Storage): ...                    # tests/lab/storage.py says what it has to say

    class TestDatabaseOnMyCluster(DatabaseMoves):
        @pytest.fixture(scope="class")
        @classmethod
        def storage(cls) -> Storage:
            return MyCluster()

The Swarm is then made and removed for this class, with the plugin built for the storage's
`plugin_backends`. `rounds` is the number of failures in `make test`; KEDGE_CHAOS_ROUNDS sets
another for all, KEDGE_CHAOS_SEED their order, KEDGE_CHAOS_TABLE a file that the table is added to.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import images, rootfs
from tests.lab.namespace import Failed
from tests.lab.storage import Storage
from tests.lab.swarm import Swarm, running
from tests.swarm.failures import Failure, failures
from tests.swarm.ledger_client import Acked, LedgerClient
from tests.swarm.rounds import Round, table

SEED = int(os.environ.get("KEDGE_CHAOS_SEED", "1"))
MOVE_SECONDS = 120.0
"""When a move that has not happened counts as failed; far more than any is seen to take."""
STAY_SECONDS = 3.0
"""For so long the database is watched going on where it should."""


class DatabaseMoves:
    """The test; the module says how to subclass it."""

    rounds = 20

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        """Of the subclass."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def swarm(cls, storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
        """Three nodes on it, only for this class."""
        built = rootfs.build(tmp_path_factory.mktemp("plugin"), storage.plugin_backends)
        with running(built, storage) as made:
            yield made

    @pytest.mark.timeout(0)
    def test_every_confirmed_row_survives_every_move(self, swarm: Swarm) -> None:
        rounds = int(os.environ.get("KEDGE_CHAOS_ROUNDS", self.rounds))
        with database(swarm) as client:
            chaos = Chaos(swarm, client)
            try:
                kinds = failures(swarm.storage, chaos=rounds > self.rounds)
                for failure in schedule(kinds, rounds):
                    chaos.round(failure)
            finally:
                report(table(chaos.done, len(client.acked), SEED))


@contextmanager
def database(swarm: Swarm) -> Iterator[LedgerClient]:
    """The service `db` on the volume `db`, and its client at work."""
    swarm.service("db", images.MARIADB, volume="db", at="/var/lib/mysql")
    client = LedgerClient(swarm, "db", "db")
    client.start()
    try:
        yield client
    finally:
        client.stop()


def schedule(kinds: list[Failure], rounds: int) -> list[Failure]:
    """Every failure before any comes again, in an order that the seed decides."""
    dice = random.Random(SEED)
    found: list[Failure] = []
    while len(found) < rounds:
        found += dice.sample(kinds, len(kinds))
    return found[:rounds]


def report(text: str) -> None:
    """Print it; add it to a file, if one is named."""
    print(text)
    if place := os.environ.get("KEDGE_CHAOS_TABLE"):
        with Path(place).open("a") as file:
            file.write(text)


class Chaos:
    """One failure after another, and what each did."""

    def __init__(self, swarm: Swarm, client: LedgerClient) -> None:
        self._swarm = swarm
        self._client = client
        self._gone: set[int] = set()
        """Rows that a lost node was allowed to take with it."""
        self.done: list[Round] = []

    def round(self, failure: Failure) -> None:
        """Let it happen to the node that is being written; assert what must hold then."""
        first = self._client.newest().node
        member = next(one for one in self._swarm.members if one.name == first)
        failed = self._swarm.failed("db", member)
        start = time.monotonic()

        def elsewhere() -> list[Acked]:
            return [row for row in self._client.since(start) if row.node != first]

        undo = failure.happens(self._swarm, member, lambda: bool(elsewhere()))
        if failure.moves:
            what = f"{failure.name}: rows elsewhere"
            self._swarm.wait(lambda: bool(elsewhere()), what, seconds=MOVE_SECONDS)
            seconds = elsewhere()[0].at - start
        else:
            seconds = self._goes_on(failure, start)
            if elsewhere() and not failure.may_move:
                # Swarm may have lost sight of the node; but the container must not have ended
                ended = self._swarm.failed("db", member) - failed
                assert not ended, f"{failure.name}: the database's container ended: {ended}"
        undo()
        what = f"{failure.name}: every node is there"
        self._swarm.wait(self._swarm.workers_ready, what, seconds=MOVE_SECONDS)
        if failure.loses_the_node and self._swarm.storage.rpo:
            self._await_silence(first)
        lost = self._verify(start, first if failure.loses_the_node else "")
        self.done.append(Round(failure.name, seconds, lost))

    def _await_silence(self, lost_node: str) -> None:
        """Until a node that was lost confirms no more: with an rpo it may, after it is back, until
        its next write to the storage is refused; those rows are lost like its last ones."""
        back, silent = time.monotonic(), STAY_SECONDS + self._swarm.storage.rpo

        def over() -> bool:
            said = [row.at for row in self._client.acked if row.node == lost_node]
            return time.monotonic() > max([back, *said]) + silent

        what = f"{lost_node} was lost and confirms no more"
        self._swarm.wait(over, what, seconds=MOVE_SECONDS)

    @contextmanager
    def storage_fails(self, name: str) -> Iterator[None]:
        """The storage breaks in the block and is brought back at its end; then rows are confirmed
        again, wherever, and those from before are all there."""
        yield
        back = time.monotonic()

        def again() -> list[Acked]:
            return self._client.since(back)

        self._swarm.wait(lambda: bool(again()), f"{name}: rows again", seconds=2 * MOVE_SECONDS)
        seconds = again()[0].at - back
        what = f"{name}: every node is there"
        self._swarm.wait(self._swarm.workers_ready, what, seconds=MOVE_SECONDS)
        self.done.append(Round(name, seconds, self._verify(back, "")))

    def _goes_on(self, failure: Failure, start: float) -> float:
        """The longest pause between two rows, of a database that need not move."""
        end = time.monotonic() + STAY_SECONDS

        def confirmed() -> bool:
            return any(row.at > end for row in self._client.since(start))

        self._swarm.wait(confirmed, f"{failure.name}: the database goes on", seconds=MOVE_SECONDS)
        times = [start, *(row.at for row in self._client.since(start))]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def _verify(self, event: float, lost_node: str) -> int:
        """How many confirmed rows are newly missing; asserts that they may be, and all else."""
        confirmed = self._client.acked
        rows, checked = self._stored()
        assert checked == "OK", f"CHECK TABLE says {checked}"
        epochs = [rows[n][1] for n in sorted(rows)]
        assert epochs == sorted(epochs), "a row of a lower epoch after one of a higher"
        stamps = {(epoch, node) for node, epoch in rows.values()}
        assert len(stamps) == len(set(epochs)), f"one epoch, one node: {sorted(stamps)}"
        missing = {row.n for row in confirmed if row.n not in rows} - self._gone
        self._gone |= missing
        self._may_be_gone([row for row in confirmed if row.n in missing], event, lost_node)
        if not self._swarm.storage.rpo:
            order = [row.epoch for row in confirmed]
            assert order == sorted(order), "a server of a lower epoch confirmed after a higher one"
        return len(missing)

    def _may_be_gone(self, missing: list[Acked], event: float, lost_node: str) -> None:
        """Nothing but the last rows of a node that was lost, where the storage promises no more."""
        if not missing:
            return
        rpo = self._swarm.storage.rpo
        assert rpo, f"{len(missing)} confirmed rows are lost: {missing[:5]}"
        early = [row for row in missing if row.node != lost_node or row.at < event - rpo]
        assert not early, f"rows are lost that are older than {rpo} s: {early[:5]}"
        first = min(row.n for row in missing)
        kept = [
            row
            for row in self._client.acked
            if row.node == lost_node
            and row.epoch == missing[0].epoch
            and row.n > first
            and row.n not in self._gone
        ]
        assert not kept, f"row {first} is lost, and later ones are not: {kept[:5]}"

    def _stored(self) -> tuple[dict[int, tuple[str, int]], str]:
        """Every row as (node, epoch) by number, and what CHECK TABLE says."""
        deadline = time.monotonic() + MOVE_SECONDS
        while True:
            try:
                said = self._client.ask(
                    "SELECT n, node, epoch FROM t.acked ORDER BY n; CHECK TABLE t.acked"
                )
                break
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        *lines, checked = said.splitlines()
        parts = [line.split("\t") for line in lines]
        return {int(n): (node, int(epoch)) for n, node, epoch in parts}, checked.split("\t")[-1]
