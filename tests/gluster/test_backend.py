"""One volume's life on a real pool."""

import pytest

from backends.base import Spec
from backends.gluster.options import GlusterOptions
from backends.options import Size
from tests.gluster.conftest import Open

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
