"""The configuration of a server, and what may be named in it."""

import pytest

from backends.disk.fuse.testing import MemoryDevice
from backends.disk.serve import Config, factory, parse, prepare
from backends.errors import Damaged, Invalid
from backends.stores import bucket
from backends.stores.s3 import Endpoint


def test_config_round_trip() -> None:
    config = Config("backends.disk.fuse.testing:memory", {"size": 4096})
    assert parse(config.to_json()) == config


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2, "factory": "", "arguments": {}}'])
def test_what_is_no_config_is_damage(text: str) -> None:
    with pytest.raises(Damaged, match=r"disk\.json"):
        parse(text)


def test_factory_is_found() -> None:
    device = factory("backends.disk.fuse.testing:memory")({"size": 8192, "connection": 7})
    assert isinstance(device, MemoryDevice)
    assert device.size == 8192


@pytest.mark.parametrize(
    "place",
    ["os:system", "backends.disk_evil:x", "backends.disk.nowhere:x", "backends.disk.serve:nothing"],
)
def test_only_this_programs_factories(place: str) -> None:
    with pytest.raises(Invalid, match="no factory"):
        factory(place)


def test_what_takes_long_is_done_before_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the bucket, with the credentials as they are when the disk is opened."""
    made: list[Endpoint] = []

    def connect(endpoint: Endpoint) -> object:
        made.append(endpoint)
        return object()

    monkeypatch.setattr(bucket, "connect", connect)
    monkeypatch.setattr(bucket, "_ready", {})
    keys = iter([Endpoint(access_key="a"), Endpoint(access_key="a"), Endpoint(access_key="b")])
    monkeypatch.setattr(bucket, "_endpoint", lambda of: next(keys))
    prepare(Config("backends.disk.remote:open_remote", {"bucket": {"bucket": "x"}}))
    assert made == [Endpoint(access_key="a")]
    bucket._client(bucket.Bucket("x"))
    assert made == [Endpoint(access_key="a")], "used, not made again"
    bucket._client(bucket.Bucket("x"))
    assert made == [Endpoint(access_key="a"), Endpoint(access_key="b")]
