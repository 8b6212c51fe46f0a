"""A volume in a bucket: real FUSE, loop and file system, on a server that speaks S3."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Context, Level, Spec
from backends.errors import Claimed, Invalid, NotFound
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
    assert [path for path in two.context.state.rglob("*") if volume.uuid in path.name] == []
    assert any(volume.uuid in path.name for path in one.context.state.rglob("*"))
    assert one.volumes() == []
    one.tidy()
    assert [path for path in one.context.state.rglob("*") if volume.uuid in path.name] == []
    left = [item.key for item in S3Store(lambda: client, "volumes", "p").list("disks/")]
    assert len(left) == 1
    assert "/log/" in left[0]


class Sink:
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.parts.append(data)


def test_an_encrypted_volume_is_checked_exported_and_refused(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """By the backend, on a server that speaks S3: compressed and encrypted, looked over, carried
    away, found damaged, and not opened with another key."""
    client = connect(endpoint)
    client.create_bucket(Bucket="sealed")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "k").write_bytes(os.urandom(32))
    made = node(endpoint, tmp_path, "one")
    settings = replace(made.settings, bucket="sealed", keys=keys)
    one = S3Backend(settings, made.context)
    chosen = {"size": "64M", "log": "128M", "cache": "16M", "encrypt": "k", "compress": "zstd"}
    options = parse(S3Options, chosen, subject="db")
    volume = one.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    attached = one.attach(volume, one.context.mounts / "db", claim=None)
    text = os.urandom(4096) * 256 + os.urandom(2 << 20)
    with (attached.target / "f").open("wb") as file:
        file.write(text)
        os.fsync(file.fileno())
    one.usage(attached)
    assert "unsent" in one.status(volume)
    one.detach(attached)

    store = S3Store(lambda: client, "sealed", "p")
    bodies = {item.key: store.get(item.key) for item in store.list("disks/")}
    assert bodies
    assert not any(text[:64] in body for body in bodies.values())
    last = one.fsck(volume, lambda done, total: None, attached=False)[-1]
    assert last.level is Level.OK, last
    to = Sink()
    done = one.export(volume, None, to, lambda done, total: None)
    image = b"".join(to.parts)
    assert (done.form, done.size) == ("disk", 64 << 20)
    assert all(text[at : at + 4096] in image for at in (0, 1 << 20, len(text) - 4096))

    key = max((key for key in bodies if "/data/" in key), key=lambda key: len(bodies[key]))
    body = bodies[key]
    store.put(key, body[:-9] + bytes([body[-9] ^ 1]) + body[-8:])
    found = one.fsck(volume, lambda done, total: None, attached=False)
    assert any(f.level is Level.ERROR and key in f.subject for f in found), found
    store.put(key, body)

    right = (keys / "k").read_bytes()
    (keys / "k").write_bytes(os.urandom(32))
    before = {item.key for item in store.list("")}
    with pytest.raises(Invalid, match="another one"):
        one.attach(volume, one.context.mounts / "db", claim=None)
    assert {item.key for item in store.list("")} == before
    (keys / "k").write_bytes(right)
    again = one.attach(volume, one.context.mounts / "db", claim=None)
    assert (again.target / "f").read_bytes() == text
    one.detach(again)
    one.remove(volume)
