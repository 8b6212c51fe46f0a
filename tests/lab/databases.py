"""Real database servers whose data lie in a given directory, and a ledger of what they confirmed.

    with MariaDB(place) as db:          # made the first time; started; ready for questions
        with db.writing() as ledger:    # rows 1, 2, 3, ..., each a transaction of its own
            ...                         # something dies
        ledger.acknowledged             # the highest row that was confirmed

A row that was sent and not confirmed may or may not be there. `found()` is what is there now, after
the server itself has checked its table.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 120.0
_PACE = 0.002
_INSERT = "INSERT INTO acked VALUES ({0}, '{0:0>150}'); SELECT {0};\n"


@dataclass
class Ledger:
    """What a client was told. `pauses`: the longest seconds between two confirmations."""

    acknowledged: int = 0
    longest: float = 0.0
    times: list[float] = field(default_factory=list)
    """Monotonic seconds at which row 1, 2, ... was confirmed."""

    def before(self, moment: float) -> int:
        """The highest row that was confirmed before `moment`."""
        return sum(1 for at in self.times if at < moment)


class Database(ABC):
    """A server on `place`. It is killed (-9) when the block ends."""

    owner = "root"

    def __init__(self, place: Path) -> None:
        self.data = place / "data"
        self._place = place
        self._server: subprocess.Popen[bytes] | None = None
        self._struck: list[int] = []
        self._run = Path(f"/var/tmp/kedge-db-{os.getpid()}-{id(self):x}")

    def __enter__(self) -> Database:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._run, ignore_errors=True)

    @abstractmethod
    def _make(self) -> None:
        """A new, empty database in `data`."""

    @abstractmethod
    def _arguments(self) -> list[str]:
        """What starts the server."""

    @abstractmethod
    def _client(self) -> list[str]:
        """A client that reads SQL from its standard input, and answers line by line."""

    @abstractmethod
    def _verify(self) -> None:
        """Let the server check the table; AssertionError when it is not sound."""

    def start(self) -> None:
        """Start the server, which recovers by itself, and wait until it answers."""
        self._run.mkdir(exist_ok=True)
        shutil.chown(self._run, self.owner)
        if not self.data.exists():
            self._place.chmod(0o755)
            self._make()
        with (self._run / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._as_owner(self._arguments()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self._await_answer()
        self.ask("CREATE TABLE IF NOT EXISTS acked (n BIGINT PRIMARY KEY, t VARCHAR(200))")

    def strike(self) -> None:
        """kill -9 of the server and all its processes, together; they may hang in their disk."""
        if self._server is None:
            return
        self._struck = [*_below(self._server.pid), self._server.pid]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # or the children would tidy up
            for pid in self._struck:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """`strike`, and wait until all of them are gone. Not running: nothing."""
        if self._server is None:
            return
        if not self._struck:
            self.strike()
        self._server.wait(SECONDS)
        self._server = None
        until = time.monotonic() + SECONDS
        while any(_lives(pid) for pid in self._struck):
            assert time.monotonic() < until, "killed processes of the database do not end"
            time.sleep(0.01)
        self._struck = []

    def stop(self) -> None:
        """Stop it in order."""
        assert self._server is not None
        self._server.send_signal(self._stopping())
        self._server.wait(SECONDS)
        self._server = None

    def _stopping(self) -> signal.Signals:
        return signal.SIGTERM

    def ask(self, sql: str) -> str:
        """The answer; AssertionError with the client's words when there is none."""
        done = subprocess.run(
            self._client(), input=sql + ";\n", capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{sql}: {done.stderr}\n{self.log()}"
        return done.stdout.strip()

    def log(self) -> str:
        """The server's last words."""
        return (self._run / "log").read_text(errors="replace")[-3000:]

    def found(self) -> int:
        """The highest row; every row below it is there, in a sound table."""
        self._verify()
        count, highest = self.ask("SELECT COUNT(*), COALESCE(MAX(n), 0) FROM acked").split()
        assert count == highest, f"a row in the middle is missing: {count} rows up to {highest}"
        return int(highest)

    @contextmanager
    def writing(self, ledger: Ledger | None = None, *, pace: float = _PACE) -> Iterator[Ledger]:
        """Rows are inserted, one after another, `pace` seconds between them, while the block runs,
        and as long as the server takes them. Ends when the block does: what hangs then is cut
        off."""
        ledger = ledger or Ledger()
        client = subprocess.Popen(
            self._client(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        ending = threading.Event()
        told = (client, ledger, ending, pace)
        writer = threading.Thread(target=self._insert, args=told, daemon=True)
        writer.start()
        try:
            until = time.monotonic() + SECONDS
            while not ledger.times and time.monotonic() < until:
                time.sleep(0.01)
            assert ledger.times, f"no row is confirmed: {self.log()}"
            yield ledger
        finally:
            ending.set()
            writer.join(0.5)
            client.kill()
            writer.join(SECONDS)
            client.communicate()

    def _insert(
        self,
        client: subprocess.Popen[bytes],
        ledger: Ledger,
        ending: threading.Event,
        pace: float,
    ) -> None:
        assert client.stdin is not None
        assert client.stdout is not None
        row, last = ledger.acknowledged, time.monotonic()
        with suppress(OSError, ValueError):
            while not ending.is_set():
                row += 1
                text = _INSERT.format(row)
                client.stdin.write(text.encode())
                if client.stdout.readline() != b"%d\n" % row:
                    return
                now = time.monotonic()
                ledger.longest = max(ledger.longest, now - last)
                ledger.acknowledged, last = row, now
                ledger.times.append(now)
                ending.wait(pace)

    def _await_answer(self) -> None:
        until = time.monotonic() + SECONDS
        while True:
            done = subprocess.run(
                self._client(), input="SELECT 1;\n", capture_output=True, text=True, timeout=SECONDS
            )
            if done.returncode == 0:
                return
            assert self._server is not None
            assert self._server.poll() is None, f"the server ended: {self.log()}"
            assert time.monotonic() < until, f"the server does not answer: {self.log()}"
            time.sleep(0.1)

    def _as_owner(self, argv: Sequence[str]) -> list[str]:
        user = f"--reuid={self.owner}"
        return ["setpriv", user, f"--regid={self.owner}", "--clear-groups", "--", *argv]

    def _owned(self) -> None:
        self.data.mkdir()
        shutil.chown(self.data, self.owner, self.owner)

    def _quiet(self, argv: Sequence[str]) -> None:
        done = subprocess.run(
            self._as_owner(argv), capture_output=True, text=True, timeout=SECONDS, cwd="/"
        )
        assert done.returncode == 0, done.stderr


class MariaDB(Database):
    """InnoDB, everything durable at each commit."""

    owner = "mysql"

    def _make(self) -> None:
        self._owned()
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}"]
        quick = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self._quiet([*install, *quick])

    def _arguments(self) -> list[str]:
        return [
            *("mariadbd", "--no-defaults", f"--datadir={self.data}", "--skip-networking"),
            f"--socket={self._run}/s",
            f"--pid-file={self._run}/pid",
            f"--tmpdir={self._run}",  # each takes away what it finds in the system's own
            *("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin=log"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M"),
        ]

    def _client(self) -> list[str]:
        return ["mariadb", "-S", f"{self._run}/s", "-u", "root", "-N", "-n", "-B", "mysql"]

    def _verify(self) -> None:
        assert self.ask("CHECK TABLE acked EXTENDED").split()[-1] == "OK"


class PostgreSQL(Database):
    """With checksums of its pages."""

    owner = "postgres"

    def start(self) -> None:
        """In containers the first process is always number 1, and no lock file of a lost node names
        one that lives here; these share one machine's numbers."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super().start()

    @property
    def _programs(self) -> Path:
        return max(Path("/usr/lib/postgresql").glob("*/bin"))

    def _make(self) -> None:
        self._owned()
        self.data.chmod(0o700)
        made = [f"{self._programs}/initdb", "-D", str(self.data), "--data-checksums"]
        self._quiet([*made, "--auth=trust", "-E", "UTF8", "--locale=C"])

    def _arguments(self) -> list[str]:
        return [
            *(f"{self._programs}/postgres", "-D", str(self.data), "-k", str(self._run)),
            *("-c", "listen_addresses=", "-c", "shared_buffers=32MB", "-c", "max_wal_size=64MB"),
        ]

    def _client(self) -> list[str]:
        plain = ["-X", "-q", "-A", "-t", "-F", " ", "-v", "ON_ERROR_STOP=1"]
        return [f"{self._programs}/psql", "-h", str(self._run), "-U", "postgres", *plain]

    def _stopping(self) -> signal.Signals:
        return signal.SIGINT

    def _verify(self) -> None:
        """Reads every page, and PostgreSQL compares their checksums; the index against the heap."""
        self.ask("CREATE EXTENSION IF NOT EXISTS amcheck")
        assert self.ask("SELECT bt_index_check('acked_pkey', true)") == ""
        self.ask("SELECT SUM(LENGTH(t)) FROM acked")


def _below(pid: int) -> list[int]:
    """All processes that this one has started, and theirs."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for word in words for one in (int(word), *_below(int(word)))]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
