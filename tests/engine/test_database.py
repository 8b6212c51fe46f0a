"""A real MariaDB whose container, driver and engine are killed: no acknowledged row is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import images
from tests.lab.engine import CLIENT
from tests.lab.namespace import Failed
from tests.lab.node import Node

LEAST = 10
"""Rows before something is killed, and after it while the connection lives: a busy machine takes
its time for them."""
LONGEST = 60.0
TABLE = "CREATE DATABASE t; CREATE TABLE t.rows (n INT PRIMARY KEY) ENGINE=InnoDB"


class Database:
    """The container `db` on a volume; `acknowledged` is the highest row the server confirmed."""

    patience = 60.0
    """Seconds until it has made its files, or recovered them, and answers."""

    def __init__(self, node: Node, volume: str) -> None:
        self.node = node
        self.acknowledged = 0
        images.load_mariadb(node.engine)
        node.run("-d", "--name", "db", "-v", f"{volume}:/var/lib/mysql", image=images.MARIADB)
        self.wait()
        self.ask(TABLE)

    def ask(self, sql: str) -> str:
        return self.node.docker("exec", "db", "mariadb", "-N", "-e", sql)

    def wait(self) -> None:
        def answers() -> bool:
            try:
                return self.ask("SELECT 1") == "1"
            except Failed:
                return False

        self.node.engine.wait_for(answers, "the database answers", seconds=self.patience)

    def inserting(self, seconds: float) -> Iterator[None]:
        """Insert rows one by one, each in a transaction of its own; yields once in between, for
        the caller to kill something, and goes on until the connection ends or time is up, and
        some rows are confirmed."""
        argv = [CLIENT, "-H", self.node.engine.host, "exec", "-i", "db", "mariadb", "-N", "-n"]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # what could not be written must not be tried again at the end
        ) as client:
            begun = time.monotonic()
            self._insert(client, begun + 0.5)
            yield
            self._insert(client, begun + seconds)
            client.kill()

    def _insert(self, client: subprocess.Popen[bytes], end: float) -> None:
        assert client.stdin is not None
        assert client.stdout is not None
        row = self.acknowledged
        enough, latest = row + LEAST, time.monotonic() + LONGEST
        while time.monotonic() < end or (row < enough and time.monotonic() < latest):
            row += 1
            try:
                client.stdin.write(b"INSERT INTO t.rows VALUES (%d); SELECT %d;\n" % (row, row))
            except BrokenPipeError:
                return
            if client.stdout.readline() != b"%d\n" % row:
                return
            self.acknowledged = row

    def check(self) -> None:
        """Every acknowledged row is there, in a sound table, and nothing beyond the next one."""
        self.wait()
        count, highest = map(int, self.ask("SELECT COUNT(*), MAX(n) FROM t.rows").split())
        assert count == highest, "a row in the middle is missing"
        assert self.acknowledged <= highest <= self.acknowledged + 1
        assert self.ask("CHECK TABLE t.rows EXTENDED").split()[-1] == "OK"
        self.acknowledged = highest


@pytest.fixture(params=["directory", "image"])
def database(request: pytest.FixtureRequest, node: Node) -> Database:
    node.create("database", *(["size=1G"] if request.param == "image" else []))
    return Database(node, "database")


def test_no_acknowledged_row_is_lost(node: Node, database: Database) -> None:
    for _ in database.inserting(3):
        node.docker("kill", "-s", "KILL", "db")
    node.docker("start", "db")
    database.check()

    for _ in database.inserting(3):
        node.kill_service()
        killed = database.acknowledged
    assert database.acknowledged >= killed + LEAST, "the database went on without the driver"
    database.check()

    for _ in database.inserting(3):
        node.engine.kill()
        node.engine.start()
    node.docker("start", "db")
    database.check()

    node.docker("rm", "-f", "db")
