"""A volume in a bucket: real FUSE, loop and file system, on a server that speaks S3."""

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Context, Level, Spec, Volume
from backends.errors import Claimed, Invalid, NotFound
from backends.options import parse
from backends.s3 import S3Backend
from backends.s3.options import S3Options, S3Settings
from backends.stores.s3 import Endpoint, S3Store, connect
from tests.lab.moto_server import app
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
        storage_class="STANDARD_IA",
    )
    return S3Backend(settings, Context("s3", name, home / name / "mounts", home / name / "state"))


def test_a_volume_moves_and_goes(endpoint: Endpoint, tmp_path: Path) -> None:
    """Written on one node, refused to another meanwhile, read there afterwards, and removed
    until nothing but its last fence is left."""
    client = connect(endpoint)
    client.create_bucket(Bucket="volumes")
    one, two = node(endpoint, tmp_path, "one"), node(endpoint, tmp_path, "two")
    options = parse(S3Options, {"size": "64M", "log": "128M", "cache": "2M"}, subject="db")
    volume = one.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    assert two.get("db") == volume

    attached = one.attach(volume, one.context.mounts / "db", claim=None)
    assert one.attachments() == [attached]
    device = one._disks.layer(volume).device()
    assert device is not None
    assert device.direct
    queue = Path(f"/sys/block/loop{device.number}/queue")
    assert (queue / "logical_block_size").read_text() == "4096\n"
    text = os.urandom(3 << 20)
    (attached.target / "f").write_bytes(text)
    with pytest.raises(Claimed, match="node one"):
        two.attach(volume, two.context.mounts / "db", claim=None)
    one.detach(attached)
    assert one.attachments() == []

    moved = two.attach(volume, two.context.mounts / "db", claim=None)
    assert (moved.target / "f").read_bytes() == text
    cache = two.context.state / "disks" / volume.uuid / "cache"
    assert 1 << 20 < cache.stat().st_blocks * 512 <= 2 << 20
    two.detach(moved)
    kept = client.list_objects_v2(Bucket="volumes")["Contents"]
    assert {item["StorageClass"] for item in kept} == {"STANDARD_IA"}
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


def _exported(backend: S3Backend, volume: Volume[S3Options]) -> bytes:
    to = Sink()
    assert backend.export(volume, None, to, lambda done, total: None).form == "disk"
    return b"".join(to.parts)


def _has_everything(status: dict[str, str]) -> None:
    """What is to be seen of a mounted volume."""
    assert status["last_commit"].startswith("record ")
    assert " under epoch " in status["last_commit"]
    assert {"unsent", "stored", "cached", "requests_per_minute"} <= status.keys()


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
    _has_everything(one.status(volume))
    one.detach(attached)

    store = S3Store(lambda: client, "sealed", "p")
    bodies = {item.key: store.get(item.key) for item in store.list("disks/")}
    assert bodies
    assert not any(text[:64] in body for body in bodies.values())
    steps: list[tuple[int, int]] = []
    last = one.fsck(volume, lambda *step: steps.append(step), attached=False)[-1]
    assert (last.level, steps) == (Level.OK, sorted(steps)), last
    assert steps[-1][0] == steps[-1][1] >= len(text)
    image = _exported(one, volume)
    assert len(image) == 64 << 20
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


class Careless:
    """moto that ignores conditions."""

    def __init__(self) -> None:
        self._app = app()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return self._app(environ, start_response)


def test_a_store_without_working_conditions_serves_one_node_when_asked(tmp_path: Path) -> None:
    """And no other way: nothing is made in it."""
    with moto_endpoint(Careless()) as endpoint:
        connect(endpoint).create_bucket(Bucket="volumes")
        refused = node(endpoint, tmp_path, "one")
        options = parse(S3Options, {"size": "64M", "log": "128M"}, subject="db")
        spec = Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z")
        with pytest.raises(Invalid, match="cannot be used by several nodes"):
            refused.create(spec)
        alone = S3Backend(replace(refused.settings, single_node=True), refused.context)
        volume = alone.create(spec)
        for text in ("", "text"):
            attached = alone.attach(volume, alone.context.mounts / "db", claim=None)
            if text:
                assert (attached.target / "f").read_text() == text
            (attached.target / "f").write_text("text")
            alone.detach(attached)
        alone.remove(volume)
        assert alone.volumes() == []
