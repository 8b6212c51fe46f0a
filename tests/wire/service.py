"""The real service in a process of its own, and a caller that speaks to it byte by byte."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parents[2]
PROFILE = '[profiles.prod]\nbackend = "memory"\n'
HEAD = "POST /{method} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\n"
DOCKER = "Accept: application/vnd.docker.plugins.v1.2+json\r\n"


class Dropped(Exception):
    """The connection was closed without a byte of an answer."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """What Docker would show; empty for success."""
        return str(self.document.get("Err", ""))


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something to come about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class Service:
    """One service at work below a directory."""

    def __init__(self, home: Path, settings: str = PROFILE, **environ: str) -> None:
        self.home = home
        self.hooks = home / "hooks"
        self.hooks.mkdir(parents=True)
        self.sock, self.admin = home / "kedge.sock", home / "admin.sock"
        (home / "kedge.toml").write_text(settings)
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KEDGE_")},
            "KEDGE_CONFIG": str(home / "kedge.toml"),
            "KEDGE_DATA": str(home / "data"),
            "KEDGE_MOUNTS": str(home / "mounts"),
            "KEDGE_SOCKET": str(self.sock),
            "KEDGE_ADMIN_SOCKET": str(self.admin),
            "KEDGE_DOCKER_ROOT": str(home / "docker"),
            "KEDGE_NODE": "here",
            "HOOKS": str(self.hooks),
            "PYTHONPATH": str(ROOT),
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def argv(self) -> list[str]:
        """The command that starts it."""
        return [sys.executable, "-m", "tests.wire.serve", "serve"]

    def start(self, **pipes: Any) -> "Service":
        """Begin; the answers come when they come."""
        files = {name: (self.home / name).open("ab") for name in ("out", "err")}
        streams: dict[str, Any] = {"stdout": files["out"], "stderr": files["err"], **pipes}
        self.process = subprocess.Popen(self.argv, cwd=ROOT, env=self.environ, **streams)
        for file in files.values():
            file.close()
        return self

    def stop(self) -> float:
        """SIGTERM; the seconds until it is gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - began

    def hook(self, name: str, what: str) -> None:
        """See `serve.py`."""
        part = self.hooks / f".{name}"
        part.write_text(what)
        part.replace(self.hooks / name)

    def unhook(self) -> None:
        """Everything works again."""
        for file in self.hooks.iterdir():
            file.unlink()

    def worker(self) -> int:
        """The process id of the one worker."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until(lambda: children.read_text().split())
        return int(children.read_text().split()[0])

    @property
    def said(self) -> str:
        """Everything it wrote."""
        texts = [(self.home / name).read_text(errors="replace") for name in ("out", "err")]
        return "".join(texts)

    # -- calling ---------------------------------------------------------------------------

    def connect(self, path: Path | None = None) -> socket.socket:
        """A connection, as soon as there is something to connect to."""
        end = time.monotonic() + 20
        while True:
            caller = socket.socket(socket.AF_UNIX)
            caller.settimeout(40)
            try:
                caller.connect(str(path or self.sock))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                # not there yet, or its queue is full: Docker tries again, too
                caller.close()
                assert time.monotonic() < end, "nobody listens"
                time.sleep(0.02)
            else:
                return caller

    def exchange(self, request: bytes) -> bytes:
        """Everything that comes back before the connection is closed."""
        with self.connect() as caller:
            with contextlib.suppress(BrokenPipeError):
                caller.sendall(request)
            return received(caller)

    def raw(self, method: str, body: bytes, headers: Sequence[str] = (), host: str = "") -> Answer:
        """One call with exactly this body. Dropped when no byte comes back."""
        return answered(self.exchange(framed(method, body, headers, host)))

    def call(self, method: str, **fields: Any) -> Answer:
        """One call of the volume driver, as Docker writes it."""
        return self.raw(f"VolumeDriver.{method}", encoded(**fields))

    def ok(self, method: str, **fields: Any) -> dict[str, Any]:
        """One call that must succeed."""
        answer = self.call(method, **fields)
        assert answer.status == 200, answer
        assert answer.error == "", answer
        return cast(dict[str, Any], answer.document)

    def names(self) -> list[str]:
        """The volumes, from List."""
        return [volume["Name"] for volume in self.ok("List")["Volumes"]]


def encoded(**fields: Any) -> bytes:
    """As Go encodes it: with the three characters escaped, and a newline behind."""
    text = json.dumps(fields, ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode(errors="surrogatepass") + b"\n"


def framed(method: str, body: bytes, headers: Sequence[str] = (), host: str = "") -> bytes:
    """The bytes of a request."""
    head = HEAD.format(method=method, host=host) + DOCKER
    head += "".join(f"{line}\r\n" for line in headers)
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def received(caller: socket.socket) -> bytes:
    """Everything until the other side closes."""
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := caller.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


def answered(raw: bytes) -> Answer:
    """The response in these bytes; Dropped when there are none."""
    if not raw:
        raise Dropped
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    return Answer(int(first.split()[1]), headers, body)
