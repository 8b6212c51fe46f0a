"""An S3 bucket, or part of one, as a Store. The only module that knows boto3.

Each call is one HTTP request: botocore's own retries are off, because a repetition of a
conditional PUT whose first reply was lost would be answered "taken" and look like a defeat.
Whoever calls knows what may be repeated (`retrying.py`, `settled.py`).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import botocore.config  # type: ignore[import-untyped]
import botocore.exceptions  # type: ignore[import-untyped]

from backends.errors import Conflict, Invalid, NotFound, Unavailable
from backends.stores.base import Listed, Store, Throttled

_MISSING = {"NoSuchKey", "404"}
_TOO_MANY = {"SlowDown", "RequestLimitExceeded", "TooManyRequests", "ThrottlingException"}
_WHOLE = {
    "NoSuchBucket": "there is no such bucket; create it, or correct the profile's bucket=",
    "InvalidAccessKeyId": "the store does not know the access key; check the credentials",
    "SignatureDoesNotMatch": "the signature is wrong; check the secret key and the region",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the store's; set it right",
    "PermanentRedirect": "the bucket is in another region; correct the profile's region=",
    "IllegalLocationConstraintException": "the bucket is in another region; correct region=",
    "AuthorizationHeaderMalformed": "the region is wrong; correct the profile's region=",
}
"""What is wrong with every request alike."""
_WORDS = {
    "AccessDenied": "the store denies access; check the profile's credentials and the policy",
    "403": "the store denies access; check the profile's credentials and the policy",
}


@dataclass(frozen=True)
class Endpoint:
    """Where the bucket is and who asks. Empty: what the SDK finds for itself (environment,
    shared files, instance role)."""

    url: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    path_style: bool | None = None
    """Whether the bucket is named in the path, or (False) in the host's name. None: in the path,
    if there is a `url`, whose host need not answer to other names; as AWS wants it without one."""
    ca_file: Path | None = None


_STYLES = {None: "auto", True: "path", False: "virtual"}


@dataclass(frozen=True)
class Tuning:
    """Seconds and counts of the client."""

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    connections: int = 32


def connect(endpoint: Endpoint, tuning: Tuning | None = None) -> Any:
    """A boto3 client; may be used from many threads. Invalid when the settings make no client."""
    tuning = tuning or Tuning()
    config = botocore.config.Config(
        connect_timeout=tuning.connect_seconds,
        read_timeout=tuning.read_seconds,
        max_pool_connections=tuning.connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        s3={"addressing_style": _STYLES[endpoint.path_style]},
    )
    try:
        session = boto3.session.Session(
            aws_access_key_id=endpoint.access_key or None,
            aws_secret_access_key=endpoint.secret_key or None,
            aws_session_token=endpoint.session_token or None,
            region_name=endpoint.region or None,
        )
        return session.client(
            "s3",
            endpoint_url=endpoint.url or None,
            verify=str(endpoint.ca_file) if endpoint.ca_file else None,
            config=config,
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise Invalid(f"the S3 settings are not usable: {error}") from error


@dataclass(frozen=True)
class Described:
    """What can be known of a store before anything is written to it."""

    credentials: str
    """Where they were found, for people; never they themselves. Empty: nowhere."""
    clock: str
    """The store's clock, as its answer says (HTTP date); empty when it does not."""


def describe(client: Any, bucket: str, *, named: bool) -> Described:
    """Ask a store who it takes us for. `named`: the credentials came from the profile's file.
    Unavailable, in words, when it does not answer, or not as it should."""
    asked = S3Store(lambda: client, bucket)
    with asked._asked("look at", "the bucket"):
        answer = client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    found = client._request_signer._credentials
    where = "the profile's file" if named else _WHERE.get(found.method, found.method)
    return Described(where, answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""))


_WHERE = {
    "env": "the environment",
    "shared-credentials-file": "the SDK's shared file",
    "config-file": "the SDK's configuration",
    "iam-role": "the role of this machine",
    "container-role": "the role of this container",
}


class S3Store(Store):
    """Keys below `prefix` of one bucket. Needs no request until it is used."""

    def __init__(
        self,
        client: Callable[[], Any],
        bucket: str,
        prefix: str = "",
        *,
        page: int = 1000,
        kept: str = "",
    ) -> None:
        """`kept`: the class under which the store keeps what is written; empty: its default."""
        self._how = {"StorageClass": kept} if kept else {}
        self._page = page
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        if length <= 0:
            return b""
        return self._get(key, Range=f"bytes={start}-{start + length - 1}")

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        sys.audit("kedge.store.put_if_absent", key)
        with self._asked("write", key):
            self._client().put_object(**self._named(key), Body=body, IfNoneMatch="*", **self._how)

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        sys.audit("kedge.store.put", key)
        with self._asked("write", key):
            self._client().put_object(**self._named(key), Body=body, **self._how)

    def delete(self, key: str) -> None:
        """See Store."""
        sys.audit("kedge.store.delete", key)
        with suppress(NotFound), self._asked("delete", key):  # some stores say that it is gone
            self._client().delete_object(**self._named(key))

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        found: list[Listed] = []
        request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, "MaxKeys": self._page}
        if after:
            request["StartAfter"] = self._prefix + after
        while True:
            with self._asked("list", prefix):
                page = self._client().list_objects_v2(**request)
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self._prefix)
                found.append(Listed(key, item["Size"], item["LastModified"].timestamp()))
            if not page.get("IsTruncated"):
                return found
            request["ContinuationToken"] = page["NextContinuationToken"]

    def head(self, key: str) -> int | None:
        """See Store. A HEAD's 404 does not say whether the bucket itself is there: asked."""
        try:
            with self._asked("look at", key):
                return int(self._client().head_object(**self._named(key))["ContentLength"])
        except NotFound:
            with self._asked("look at", "the bucket"):
                self._client().list_objects_v2(Bucket=self._bucket, MaxKeys=1)
            return None

    def renew(self) -> None:
        """See Store. What is under way is not touched."""
        self._client().close()

    def _get(self, key: str, **extra: str) -> bytes:
        try:
            with self._asked("read", key):
                answer = self._client().get_object(**self._named(key), **extra)
                body: bytes = answer["Body"].read()
        except _EmptyRange:
            return b""
        if len(body) != answer["ContentLength"]:
            raise Unavailable(f"object {key} came short: {len(body)} bytes; try again")
        return body

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    @contextmanager
    def _asked(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            raise self._translated(error, verb, key) from error
        except botocore.exceptions.NoCredentialsError as error:
            raise Unavailable(
                f"there are no credentials for bucket {self._bucket}: set the profile's "
                "credentials=, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the service's "
                "environment"
            ) from error
        except botocore.exceptions.SSLError as error:
            raise Unavailable(
                f"the certificate of the store is not trusted ({error}); name the certificates to "
                "trust with the profile's ca_file="
            ) from error
        except (
            botocore.exceptions.EndpointConnectionError,
            botocore.exceptions.ConnectTimeoutError,
        ) as error:
            url = urlsplit(str(error.kwargs.get("endpoint_url", "")))
            raise Unavailable(
                f"nothing answers at {url.scheme}://{url.netloc}, to ask for bucket "
                f"{self._bucket}; is the store up, and is the profile's endpoint= right?"
            ) from error
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise Unavailable(f"cannot {verb} {key} in bucket {self._bucket}: {error}") from error

    def _translated(self, error: Any, verb: str, key: str) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _MISSING:
            return NotFound(f"no object {key} in bucket {self._bucket}")
        if code == "InvalidRange" or status == 416:
            return _EmptyRange()
        if status == 412:
            return Conflict(f"object {key} in bucket {self._bucket} is there already")
        if code in _WHOLE:
            return Unavailable(f"bucket {self._bucket} cannot be used: {_WHOLE[code]}")
        words = _WORDS.get(
            code, f"{status} {code}: {error.response.get('Error', {}).get('Message')}"
        )
        refused = status in (429, 503) or code in _TOO_MANY
        kind = Throttled if refused else Unavailable
        return kind(f"cannot {verb} {key} in bucket {self._bucket}: {words}")


class _EmptyRange(Exception):
    """The range begins behind the end of the object."""
