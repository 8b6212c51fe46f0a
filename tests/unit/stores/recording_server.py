"""A server that answers everything alike and remembers what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOTHING_LISTED = b'<?xml version="1.0"?><ListBucketResult><Name>there</Name></ListBucketResult>'


@dataclass(frozen=True)
class Asked:
    """One request. Names of headers in small letters."""

    verb: str
    headers: Mapping[str, str]
    caller: Any
    """The address and port at the other end of its connection."""


@dataclass
class Recording:
    """What was asked, and what is answered."""

    url: str = ""
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    """By verb, where it is another one."""
    body: bytes = b""
    asked: list[Asked] = field(default_factory=list)
    meeting: threading.Barrier | None = None
    """So many requests are answered together."""


@contextmanager
def recording(
    *, status: int = 200, body: bytes = b"", tls: ssl.SSLContext | None = None
) -> Iterator[Recording]:
    """One that keeps connections, as S3 does."""
    made = Recording(status=status, body=body)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.asked.append(Asked(self.command, headers, self.client_address))
            if made.meeting is not None:
                made.meeting.wait(60)
            self.send_response(made.statuses.get(self.command, made.status))
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        do_GET = do_PUT = do_DELETE = _answer  # noqa: N815

        def do_HEAD(self) -> None:
            made.asked.append(Asked("HEAD", {}, self.client_address))
            self.send_response(made.status)
            self.send_header("Content-Length", "1")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who does not trust us
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    made.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
