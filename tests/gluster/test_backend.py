"""One volume's life on a real pool."""

import pytest

from backends.base import Level, Spec
from backends.gluster import GlusterBackend, databases
from backends.gluster.options import GlusterOptions
from backends.options import Size
from tests.gluster.conftest import VOLUME, Open
from tests.gluster.test_fencing import attach, make

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("size", [None, Size(64 << 20)], ids=["directory", "image"])
def test_a_volume_lives_and_moves(open_node: Open, size: Size | None) -> None:
    a, b = open_node("a"), open_node("b")
    volume = a.create(Spec("db", GlusterOptions(size=size), "0-1-2", "2026-01-01T00:00:00Z"))
    assert b.volumes() == [volume]
    first = a.attach(volume, a.context.mounts / "db", claim=None)
    assert first.healthy
    (first.target / "file").write_text("content")
    assert a.attach(volume, first.target, claim=None) == first
    assert a.attachments() == [first]
    a.detach(first)
    assert not a.attachments()
    assert not first.target.exists()
    second = b.attach(volume, b.context.mounts / "db", claim=None)
    assert (second.target / "file").read_text() == "content"
    b.detach(second)
    b.remove(volume)
    assert a.volumes() == []


def test_the_doctor_asks_the_pool(open_node: Open) -> None:
    """What is not as databases need it is named, and no more once the clients see to it."""
    found = open_node("a").findings()
    assert (found[0].level, found[0].detail) == (Level.OK, "Replicate, 1 x 3 = 3 bricks")
    said = " ".join(one.advice for one in found)
    assert all(option in said for option in databases.WANTED)
    assert Level.ERROR in {one.level for one in found}
    asked = open_node("a", for_databases=True).findings()
    assert Level.ERROR not in {one.level for one in asked}
    assert not any(option in one.advice for one in asked for option in databases.WANTED)


def option(backend: GlusterBackend, uuid: str, layer: str, name: str) -> str:
    """An option as the client of a volume has it, in its own words; empty if it was not given."""
    point = backend.clients.client(uuid).point
    file = point / ".meta/graphs/active" / f"{VOLUME}-{layer}" / "options" / name
    return file.read_text().strip() if file.exists() else ""


@pytest.mark.parametrize("asked", [False, True])
def test_clients_do_what_databases_need_only_when_asked(open_node: Open, asked: bool) -> None:
    a = open_node("a", for_databases=asked)
    volume = make(a)
    attach(a, volume)
    assert option(a, volume.uuid, "replicate-0", "post-op-delay-secs") == ("0" if asked else "")
    for layer in ("write-behind", "quick-read", "md-cache", "open-behind"):
        assert option(a, volume.uuid, layer, "pass-through") == ("true" if asked else "")
