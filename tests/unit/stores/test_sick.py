"""Rows of the failure matrix (docs/s3-failures.md): a store of which a part is sick, over real
connections."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backends.errors import Unavailable
from backends.stores.hedging import Hedging
from backends.stores.retrying import Patience, Retrying
from backends.stores.s3 import Endpoint, S3Store, Tuning, connect
from backends.stores.settled import create
from tests.lab.proxy import Proxy

SLOW = 4.0
"""Seconds after which a request counts as lost here; 30 in a real client."""


@dataclass
class Way:
    """A bucket, behind a way of which connections can go dead."""

    proxy: Proxy
    one: S3Store
    """Each call is one request."""
    hedged: Hedging
    store: Retrying
    """As a disk uses it."""


@contextmanager
def way_to(endpoint: Endpoint, bucket: str) -> Iterator[Way]:
    host, _, port = endpoint.url.removeprefix("http://").partition(":")
    connect(endpoint).create_bucket(Bucket=bucket)
    with Proxy(host, int(port)) as proxy, ThreadPoolExecutor(8) as pool:
        there = Endpoint(**{**vars(endpoint), "url": f"http://127.0.0.1:{proxy.port}"})
        client = connect(there, Tuning(read_seconds=SLOW))
        one = S3Store(lambda: client, bucket)
        hedged = Hedging(one, pool, time.monotonic)
        yield Way(proxy, one, hedged, Retrying(hedged, Patience(time.sleep, lambda: 0.0)))
        proxy.well()


@pytest.mark.sim
def test_slow_or_half_dead_s3_node(endpoint: Endpoint) -> None:
    """A connection leads to a part of the store that says nothing more: a read is answered over
    another one, at once; a write is given up, and made on a new connection."""
    with way_to(endpoint, "half-dead") as way:
        way.store.put("a", b"body")
        assert way.store.get("a") == b"body"
        way.proxy.deaden()
        assert way.store.get("a") == b"body"
        assert way.hedged.doubled >= 1
        way.proxy.deaden()
        way.store.put("b", b"more")
        assert way.one.get("b") == b"more"


@pytest.mark.sim
def test_slow_or_half_dead_s3_node_that_does_what_it_does_not_answer(endpoint: Endpoint) -> None:
    """Whether a creation happened is looked up, not guessed: the object is ours, made once."""
    with way_to(endpoint, "deaf") as way:
        way.store.put("a", b"body")
        way.proxy.deaden(answers_only=True)
        with pytest.raises(Unavailable):
            way.one.put_if_absent("b", b"ours")
        assert way.one.get("b") == b"ours"
        assert create(way.store, "b", b"ours") is None
        way.proxy.deaden(answers_only=True)
        assert create(way.store, "c", b"ours") is None
        taken = create(way.store, "c", b"theirs")
        assert taken is not None
        assert taken.body == b"ours"


class Keeping(BaseHTTPRequestHandler):
    """One object, over connections that stay (those of moto do not)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.mark.sim
def test_new_connections_are_made_when_asked_for() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeping)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Proxy("127.0.0.1", server.server_port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        client = connect(Endpoint(url, "r", "k", "s", path_style=True))
        store = S3Store(lambda: client, "b")
        for _ in range(3):
            assert store.get("a") == b"body"
        assert proxy.connections == 1
        with ThreadPoolExecutor(1) as pool:
            Retrying(
                Hedging(store, pool, time.monotonic), Patience(time.sleep, lambda: 0.0)
            ).renew()
        assert store.get("a") == b"body"
        assert proxy.connections == 2
    server.shutdown()
    server.server_close()
