"""A volume in a bucket: real FUSE, loop and file system, on a server that speaks S3."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Context, Spec
from backends.errors import Claimed, NotFound
from backends.options import parse
from backends.s3 import S3Backend
from backends.s3.options import S3Options, S3Settings
from backends.stores.s3 import Endpoint, S3Store, connect
from tests.unit.stores.moto import moto_endpoint

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with moto_endpoint() as found:
        yield found


def node(endpoint: Endpoint, home: Path, name: str) -> S3Backend:
    credentials = home / "credentials"
    credentials.write_text("[default]\naws_access_key_id=test\naws_secret_access_key=test\n")
    settings = S3Settings(
        bucket="volumes",
        prefix="p",
        endpoint=endpoint.url,
        region="us-east-1",
        credentials=credentials,
        path_style=True,
    )
    return S3Backend(settings, Context("s3", name, home / name / "mounts", home / name / "state"))


def test_a_volume_moves_and_goes(endpoint: Endpoint, tmp_path: Path) -> None:
    """Written on one node, refused to another meanwhile, read there afterwards, and removed
    until nothing but its last fence is left."""
    client = connect(endpoint)
    client.create_bucket(Bucket="volumes")
    one, two = node(endpoint, tmp_path, "one"), node(endpoint, tmp_path, "two")
    options = parse(S3Options, {"size": "64M", "log": "128M", "cache": "16M"}, subject="db")
    volume = one.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    assert two.get("db") == volume

    attached = one.attach(volume, one.context.mounts / "db", claim=None)
    assert one.attachments() == [attached]
    text = os.urandom(3 << 20)
    (attached.target / "f").write_bytes(text)
    with pytest.raises(Claimed, match="node one"):
        two.attach(volume, two.context.mounts / "db", claim=None)
    one.detach(attached)
    assert one.attachments() == []

    moved = two.attach(volume, two.context.mounts / "db", claim=None)
    assert (moved.target / "f").read_bytes() == text
    two.detach(moved)
    two.remove(volume)
    with pytest.raises(NotFound):
        one.attach(volume, one.context.mounts / "db", claim=None)
    left = [item.key for item in S3Store(lambda: client, "volumes", "p").list("disks/")]
    assert len(left) == 1
    assert "/log/" in left[0]
