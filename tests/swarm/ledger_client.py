"""A client of the database service that keeps a ledger of every row the server confirmed."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from dataclasses import dataclass

from tests.lab.engine import CLIENT
from tests.lab.namespace import Failed
from tests.lab.swarm import Member, Swarm

TABLE = (
    "CREATE DATABASE IF NOT EXISTS t; CREATE TABLE IF NOT EXISTS t.acked "
    "(n BIGINT PRIMARY KEY, node VARCHAR(20), epoch INT) ENGINE=InnoDB"
)

INSERT = "INSERT INTO t.acked VALUES ({n}, '{node}', {epoch}); SELECT {n};\n"

PATIENCE = 5.0
"""Seconds after which a server that does not answer is left."""


@dataclass(frozen=True)
class Acked:
    """One confirmed row: which node's server, under which epoch, when (monotonic)."""

    n: int
    node: str
    epoch: int
    at: float


class LedgerClient:
    """Inserts one row after another, each a transaction, on *every* member where a server of the
    service runs: so when there are two, as after a node was cut off, both are written to. Each
    number is sent once: a row that was not confirmed may be there or not."""

    def __init__(self, swarm: Swarm, service: str, volume: str) -> None:
        self._swarm = swarm
        self._service = service
        self._volume = volume
        self._acked: list[Acked] = []
        self._newest: Acked
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(member,), daemon=True)
            for member in swarm.members[1:]
        ]

    @property
    def acked(self) -> list[Acked]:
        """Everything confirmed so far, in this order."""
        return list(self._acked)

    def start(self) -> None:
        """Begin; returns when the first row is confirmed."""
        for thread in self._threads:
            thread.start()
        self._swarm.wait(lambda: bool(self._acked), "the database takes rows", seconds=120)

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def newest(self) -> Acked:
        """The last row confirmed under the highest epoch."""
        return self._newest

    def since(self, time: float) -> list[Acked]:
        """What was confirmed after that moment."""
        last = len(self._acked)
        first = next((at for at in range(last, 0, -1) if self._acked[at - 1].at <= time), 0)
        return self._acked[first:last]

    def ask(self, sql: str) -> str:
        """The answer of the server that has the highest epoch."""
        name = self.newest().node
        member = next(one for one in self._swarm.members if one.name == name)
        argv = ["exec", self._find(member), "mariadb", "-N", "-B", "-e", sql]
        return member.docker(*argv, seconds=60)

    def _find(self, member: Member) -> str:
        """The newest container of the service there."""
        found = member.docker("ps", "-q", "--filter", f"name={self._service}.", seconds=10)
        if not found:
            raise Failed(["find", self._service], 1, "no container of the service runs here")
        return found.split()[0]

    def _run(self, member: Member) -> None:
        while not self._stop.is_set():
            try:
                container = self._find(member)
                epoch = int(member.node.status(self._volume)["epoch"])
                member.docker("exec", container, "mariadb", "-e", TABLE, seconds=10)
                self._insert(member, container, epoch)
            except (Failed, OSError, KeyError, subprocess.TimeoutExpired):
                time.sleep(0.1)

    def _insert(self, member: Member, container: str, epoch: int) -> None:
        host = member.node.engine.host
        argv = [CLIENT, "-H", host, "exec", "-i", container, "mariadb", "-N", "-n", "-B"]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as client:
            try:
                while not self._stop.is_set() and self._one_row(client, member.name, epoch):
                    time.sleep(0.01)
            finally:
                client.kill()

    def _one_row(self, client: subprocess.Popen[str], node: str, epoch: int) -> bool:
        """Whether the server confirmed it."""
        assert client.stdin is not None
        assert client.stdout is not None
        n = next(self._numbers)
        client.stdin.write(INSERT.format(n=n, node=node, epoch=epoch))
        client.stdin.flush()
        watchdog = threading.Timer(PATIENCE, client.kill)
        watchdog.start()
        answer = client.stdout.readline()
        watchdog.cancel()
        if answer.strip() != str(n):
            return False
        row = Acked(n, node, epoch, time.monotonic())
        with self._lock:
            self._acked.append(row)
            if len(self._acked) == 1 or row.epoch >= self._newest.epoch:
                self._newest = row
        return True
