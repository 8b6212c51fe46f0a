"""MariaDB as a Swarm service, a failure every few seconds, and a ledger of every confirmed row.

KEDGE_CHAOS_ROUNDS sets the number of failures (20 here; `make chaos` takes 200), KEDGE_CHAOS_SEED
their order.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lab import images
from tests.lab.namespace import Failed
from tests.lab.swarm import Member, Swarm
from tests.swarm.ledger_client import LedgerClient

ROUNDS = int(os.environ.get("KEDGE_CHAOS_ROUNDS", "20"))
SEED = int(os.environ.get("KEDGE_CHAOS_SEED", "1"))


@dataclass(frozen=True)
class Round:
    """`seconds` from the event to the first row that another node confirmed."""

    event: str
    seconds: float
    lost: int


@pytest.fixture
def client(swarm: Swarm) -> Iterator[LedgerClient]:
    """The service `db` on the volume `db`, and its client at work."""
    swarm.service("db", images.MARIADB, volume="db", at="/var/lib/mysql")
    made = LedgerClient(swarm, "db", "db")
    made.start()
    yield made
    made.stop()


def drained(swarm: Swarm, member: Member) -> Callable[[], None]:
    swarm.drain(member)
    return lambda: swarm.activate(member)


def killed(swarm: Swarm, member: Member) -> Callable[[], None]:
    member.die()
    return member.revive


def cut_off(swarm: Swarm, member: Member) -> Callable[[], None]:
    """Swarm starts the service elsewhere, but the node still reaches the storage and goes on."""
    member.cut()
    time.sleep(8.0)
    member.join()
    return lambda: None


EVENTS = {"drained": drained, "killed": killed, "cut off 8 s": cut_off}


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_every_confirmed_row_survives_every_move(swarm: Swarm, client: LedgerClient) -> None:
    dice = random.Random(SEED)
    rounds = [one_round(swarm, client, dice.choice(list(EVENTS))) for _ in range(ROUNDS)]
    client.stop()
    print(table(rounds, len(client.acked)))
    assert sum(one.lost for one in rounds) == 0


def one_round(swarm: Swarm, client: LedgerClient, event: str) -> Round:
    first = client.node()
    member = next(one for one in swarm.members if one.name == first)
    start = time.monotonic()
    undo = EVENTS[event](swarm, member)
    swarm.wait(lambda: client.node() != first, f"{event}: rows elsewhere", seconds=90)
    seconds = next(row.at for row in client.acked if row.at > start and row.node != first) - start
    undo()
    swarm.wait(swarm.workers_ready, f"{event}: the node is back", seconds=90)
    return Round(event, seconds, verify(client))


def verify(client: LedgerClient) -> int:
    """How many confirmed rows are missing; asserts everything else."""
    confirmed = list(client.acked)
    deadline = time.monotonic() + 60
    while True:
        try:
            said = client.ask("SELECT n, epoch FROM t.acked ORDER BY n; CHECK TABLE t.acked")
            break
        except Failed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    *lines, checked = said.splitlines()
    assert checked.split("\t")[-1] == "OK"
    rows = {int(line.split("\t")[0]): int(line.split("\t")[1]) for line in lines}
    epochs = [rows[n] for n in sorted(rows)]
    assert epochs == sorted(epochs), "a row of a lower epoch after one of a higher"
    return len([row for row in confirmed if row.n not in rows])


def table(rounds: list[Round], confirmed: int) -> str:
    """What the run showed."""
    lines = [f"\n{len(rounds)} rounds, {confirmed} rows confirmed, seed {SEED}"]
    lines.append("event         rounds  lost  seconds to move: median  worst")
    for event in EVENTS:
        of = [one for one in rounds if one.event == event]
        if of:
            seconds = [one.seconds for one in of]
            lost = sum(one.lost for one in of)
            lines.append(
                f"{event:13} {len(of):6} {lost:5} {statistics.median(seconds):24.1f} "
                f"{max(seconds):6.1f}"
            )
    return "\n".join(lines)
