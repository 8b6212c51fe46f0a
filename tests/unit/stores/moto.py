"""An S3 server on loopback, in this process. It cannot prove atomicity, only the dialect."""

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from backends.stores.s3 import Endpoint, S3Store, connect

logging.getLogger("werkzeug").setLevel(logging.ERROR)
_buckets = itertools.count(1)


@contextmanager
def moto_endpoint() -> Iterator[Endpoint]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Endpoint(
            url=f"http://{host}:{port}",
            region="us-east-1",
            access_key="test",
            secret_key="test",  # noqa: S106
            path_style=True,
        )
    finally:
        server.stop()


def fresh_store(endpoint: Endpoint, prefix: str = "some/prefix") -> S3Store:
    client = connect(endpoint)
    bucket = f"bucket-{next(_buckets)}"
    client.create_bucket(Bucket=bucket)
    return S3Store(lambda: client, bucket, prefix)
