"""A kedge service of its own for a measurement, and a client that speaks as Docker does."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 30.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("kedge", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Service:
    """A running service below `home`."""

    home: Path
    process: "subprocess.Popen[bytes]"

    def call(self, method: str, **fields: Any) -> dict[str, Any]:
        """`call` of this service."""
        return call(self.home / "kedge.sock", method, **fields)

    def mount(self, name: str, mount_id: str = "bench") -> Path:
        """Where the volume is mounted now."""
        answer = self.call("VolumeDriver.Mount", Name=name, ID=mount_id)
        return Path(answer["Mountpoint"])

    def unmount(self, name: str, mount_id: str = "bench") -> None:
        """Undo one mount."""
        self.call("VolumeDriver.Unmount", Name=name, ID=mount_id)

    def memory(self) -> int:
        """Resident bytes of the service's processes, shared pages counted once (PSS)."""
        pids = [self.process.pid, *_children(self.process.pid)]
        return sum(pss(pid) for pid in pids)


def call(socket_: Path, method: str, **fields: Any) -> dict[str, Any]:
    """One call of Docker's protocol; raises RuntimeError with the service's sentence."""
    connection = _Connection(socket_)
    try:
        connection.request("POST", f"/{method}", body=json.dumps(fields).encode())
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if answer.get("Err"):
        raise RuntimeError(answer["Err"])
    return answer


@contextmanager
def running(home: Path, config: str = "") -> Iterator[Service]:
    """Start a service below `home` with these settings; stop it at the end."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "kedge.toml").write_text(config)
    environ = {
        **os.environ,
        "KEDGE_CONFIG": str(home / "kedge.toml"),
        "KEDGE_DATA": str(home / "data"),
        "KEDGE_MOUNTS": str(home / "mounts"),
        "KEDGE_SOCKET": str(home / "kedge.sock"),
        "KEDGE_ADMIN_SOCKET": str(home / "admin.sock"),
        "KEDGE_LOG_LEVEL": "warning",
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "driver", "serve"], env=environ, stdout=log, stderr=log
        )
    service = Service(home, process)
    try:
        _await(service)
        yield service
    finally:
        process.terminate()
        process.wait(20)


def _await(service: Service) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            service.call("VolumeDriver.List")
            return
        except (OSError, http.client.HTTPException):
            if time.monotonic() > end or service.process.poll() is not None:
                raise RuntimeError((service.home / "log").read_text()) from None
            time.sleep(0.05)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, listed) for found in (child, *_children(child))]


def pss(pid: int) -> int:
    """Resident bytes of a process, with its part of shared pages."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
