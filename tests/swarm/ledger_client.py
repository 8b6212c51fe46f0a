"""A client of the database service that keeps a ledger of every row the server confirmed."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Acked:
    """One confirmed row: which node's server, under which epoch, when (monotonic)."""

    n: int
    node: str
    epoch: int
    at: float


class LedgerClient:
    """Inserts one row after another, each a transaction, into whichever server answers. A number
    that was sent and not confirmed is never sent again: it may or may not be there."""

    def __init__(self, swarm: Swarm, service: str, volume: str) -> None:
        self._swarm = swarm
        self._service = service
        self._volume = volume
        self.acked: list[Acked] = []
        self._n = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; returns when the first row is confirmed."""
        self._thread.start()
        self._swarm.wait(lambda: bool(self.acked), "the database takes rows", seconds=120)

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(30)

    def node(self) -> str:
        """Whose server confirmed last."""
        return self.acked[-1].node

    def ask(self, sql: str) -> str:
        """The answer of whichever server runs now."""
        member, container = self._find()
        return member.docker("exec", container, "mariadb", "-N", "-B", "-e", sql, seconds=30)

    def _find(self) -> tuple[Member, str]:
        for member in self._swarm.members[1:]:
            try:
                found = member.docker("ps", "-q", "--filter", f"name={self._service}.", seconds=5)
            except (Failed, OSError, subprocess.TimeoutExpired):
                continue
            if found:
                return member, found.split()[0]
        raise Failed(["find", self._service], 1, "no container of the service runs")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                member, container = self._find()
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
            assert client.stdin is not None
            assert client.stdout is not None
            watchdog = threading.Timer(3600, client.kill)
            try:
                while not self._stop.is_set():
                    self._n += 1
                    client.stdin.write(INSERT.format(n=self._n, node=member.name, epoch=epoch))
                    client.stdin.flush()
                    watchdog = threading.Timer(5, client.kill)
                    watchdog.start()
                    answer = client.stdout.readline()
                    watchdog.cancel()
                    if answer.strip() != str(self._n):
                        return
                    self.acked.append(Acked(self._n, member.name, epoch, time.monotonic()))
                    time.sleep(0.01)
            finally:
                watchdog.cancel()
                client.kill()
