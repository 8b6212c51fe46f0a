"""Servers that speak S3, each a process of its own that a test may kill.

Moto        moto, in seconds and in memory: the dialect, one request at a time
RadosGateway (radosgw.py)  a real radosgw on a real Ceph
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

from backends.errors import Unavailable
from backends.stores.s3 import Endpoint, connect

SECONDS = 60.0
ROOT = Path(__file__).parents[2]
KEY, SECRET = "kedge-test-key", "kedge-test-secret"


class ObjectStore(ABC):
    """`start` before use, `close` at the end."""

    endpoint: Endpoint

    @abstractmethod
    def start(self, address: str = "127.0.0.1") -> None:
        """Serve at `address` when this returns."""

    @abstractmethod
    def close(self) -> None:
        """End, and leave no trace. Repeating it is no error."""

    @property
    @abstractmethod
    def access_log(self) -> Path:
        """Where the server writes a line for each request, with `"VERB /PATH` in it."""

    @property
    @abstractmethod
    def mark(self) -> str:
        """What the command line of each of its processes has, and no other."""

    def bucket(self, name: str) -> str:
        """Make a bucket; its name."""
        connect(self.endpoint).create_bucket(Bucket=name)
        return name

    def credentials(self, place: Path) -> Path:
        """A credentials file for this store."""
        place.write_text(f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
        place.chmod(0o600)
        return place


class Moto(ObjectStore):
    """Forgets everything when it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path(tempfile.mkdtemp(prefix="kedge-moto-", dir="/var/tmp"))

    def start(self, address: str = "127.0.0.1") -> None:
        port = free_port(address)
        argv = [sys.executable, "-m", "tests.lab.moto_server", address, str(port)]
        with (self._log / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.endpoint = Endpoint(
            url=f"http://{address}:{port}",
            region="us-east-1",
            access_key=KEY,
            secret_key=SECRET,
            path_style=True,
        )
        await_port(address, port, self._alive)

    @property
    def access_log(self) -> Path:
        return self._log / "log"

    @property
    def mark(self) -> str:
        return "tests.lab.moto_server"

    def _alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise Unavailable(f"moto has ended: {(self._log / 'log').read_text()[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP is a store that answers nobody."""
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None
        shutil.rmtree(self._log, ignore_errors=True)


def free_port(address: str) -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        number: int = probe.getsockname()[1]
        return number


def await_port(address: str, port: int, alive: object = None) -> None:
    """Wait until somebody listens there. `alive` is called meanwhile, and raises to give up."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            if callable(alive):
                alive()
            time.sleep(0.05)
