"""The bucket of a profile: from its settings to a store that can be asked.

Touches clock and randomness, for pauses between attempts. Credentials are found by whoever asks, in
the file that is named, or where the SDK looks.
"""

import configparser
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backends.errors import Invalid, KedgeError, Unavailable
from backends.stores.base import Store
from backends.stores.retrying import Patience, Retrying
from backends.stores.s3 import Described, Endpoint, S3Store, connect, describe


@dataclass(frozen=True)
class Bucket:
    """Where a profile keeps everything. Crosses process boundaries as JSON."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    credentials: str = ""
    """A file in the format of the SDK's shared credentials, its section `default`."""
    path_style: bool | None = None
    ca_file: str = ""
    storage_class: str = ""


_ready: dict[Endpoint, Any] = {}
"""Clients made before they were needed; only for credentials that we read ourselves, because a
process may wait for days with those that the SDK had found."""


def make_ready(bucket: Bucket) -> None:
    """Make its client now (a third of a second), for whoever asks later in this process, and let it
    be used once, which takes longer than later uses. What cannot be done yet is left to him; a
    store that does not answer is not waited for."""
    try:
        endpoint = _endpoint(bucket)
        if endpoint.access_key:
            client = _ready[endpoint] = connect(endpoint)
            store = S3Store(lambda: client, bucket.bucket, bucket.prefix)
            threading.Thread(target=_use, args=(store,), name="first use", daemon=True).start()
    except KedgeError:
        return


def _use(store: Store) -> None:
    with suppress(Exception):  # whatever it is, the server meets it again and says so
        store.get("disks/")


def bucket_store(bucket: Bucket) -> Retrying:
    """The store of a profile; connects when it is first asked."""
    return retrying(bucket_objects(bucket))


def retrying(inner: Store) -> Retrying:
    """What `inner` cannot do at once, tried again."""
    return Retrying(inner, Patience(sleep=time.sleep, chance=_chance, attempts=4))


def described(bucket: Bucket) -> Described:
    """Where a profile's credentials come from, and what its store says. KedgeError, in words."""
    endpoint = _endpoint(bucket)
    return describe(connect(endpoint), bucket.bucket, named=bool(bucket.credentials))


def bucket_objects(bucket: Bucket) -> Store:
    """The same, each call one request."""
    lock = threading.Lock()
    made: list[Any] = []

    def client() -> Any:
        with lock:
            if not made:
                made.append(_client(bucket))
            return made[0]

    return S3Store(client, bucket.bucket, bucket.prefix, kept=bucket.storage_class)


def _client(bucket: Bucket) -> Any:
    """One that stands ready, if its credentials are still those of the file; or a new one."""
    endpoint = _endpoint(bucket)
    return _ready.pop(endpoint, None) or connect(endpoint)


def _endpoint(bucket: Bucket) -> Endpoint:
    found = Endpoint(
        url=bucket.endpoint,
        region=bucket.region,
        path_style=bucket.path_style,
        ca_file=Path(bucket.ca_file) if bucket.ca_file else None,
    )
    if not bucket.credentials:
        return found
    parser = configparser.ConfigParser()
    try:
        with open(bucket.credentials) as opened:
            parser.read_file(opened)
        section = parser["default"]
        return replace(
            found,
            access_key=section["aws_access_key_id"],
            secret_key=section["aws_secret_access_key"],
            session_token=section.get("aws_session_token", ""),
        )
    except OSError as error:
        raise Unavailable(f"the credentials in {bucket.credentials}: {error.strerror}") from error
    except (configparser.Error, KeyError) as error:
        raise Invalid(
            f"{bucket.credentials} is no credentials file: it needs a section [default] with "
            "aws_access_key_id and aws_secret_access_key"
        ) from error


def _chance() -> float:
    return secrets.randbelow(1 << 30) / (1 << 30)
