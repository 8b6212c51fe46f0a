"""An S3 server on loopback, in this process: it shows the dialect, one request at a time."""

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import make_server

from backends.stores.s3 import Endpoint, S3Store, connect
from tests.lab.moto_server import app

logging.getLogger("werkzeug").setLevel(logging.ERROR)
_buckets = itertools.count(1)


@contextmanager
def moto_endpoint(application: Any = None) -> Iterator[Endpoint]:
    server = make_server("127.0.0.1", 0, application or app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="moto", daemon=True)
    thread.start()
    try:
        yield Endpoint(
            url=f"http://127.0.0.1:{server.server_port}",
            region="us-east-1",
            access_key="test",
            secret_key="test",  # noqa: S106
            path_style=True,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fresh_store(endpoint: Endpoint, prefix: str = "some/prefix") -> S3Store:
    client = connect(endpoint)
    bucket = f"bucket-{next(_buckets)}"
    client.create_bucket(Bucket=bucket)
    return S3Store(lambda: client, bucket, prefix)
