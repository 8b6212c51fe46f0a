"""`python -m tests.lab.moto_server ADDRESS PORT`: moto that keeps conditional writes.

moto looks whether a key is there and then writes it, in as many threads as there are requests, so
two of several racing writers may both win. Here one request is answered at a time.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


class OneAtATime:
    """Reads a request whole first: a caller that stops in the middle holds up nobody."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if length := environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))
        with self._lock:
            return list(self._app(environ, start_response))


def app() -> OneAtATime:
    """A store of its own."""
    return OneAtATime(DomainDispatcherApplication(create_backend_app))


def main(address: str, port: str) -> None:
    """Serve until killed."""
    run_simple(address, int(port), app(), threaded=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
