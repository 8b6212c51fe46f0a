"""Snapshots by copy lie on every server, not only on the one that was read."""

import hashlib

import pytest

from backends.base import Spec
from backends.gluster.options import GlusterOptions
from backends.options import Size
from tests.gluster.conftest import VOLUME, Open
from tests.gluster.test_fencing import attach, make
from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab


def test_every_server_has_all_of_a_snapshot(open_node: Open, pool: Pool) -> None:
    a = open_node("a")
    volume, plain = (
        make(a, Size(64 << 20)),
        a.create(Spec("plain", GlusterOptions(), "3-4", "2026-01-01T00:00:00Z")),
    )
    for one in (volume, plain):
        here = attach(a, one)
        (here.target / "f").write_bytes(b"precious" * 2**17)
        at = here if one is volume else None
        if at is None:
            a.detach(here)
        a.snapshot_create(one, "s", created="2026-01-02T00:00:00Z", attachment=at, claim=None)
    home = f"{a.settings.subdirectory}/snapshots"
    for path in (f"{home}/{volume.uuid}/s/image", f"{home}/{plain.uuid}/s/data/f"):
        copies = [pool.brick(node, VOLUME, path).read_bytes() for node in range(3)]
        assert len(copies[0]) >= 2**20
        assert len({hashlib.sha256(copy).hexdigest() for copy in copies}) == 1, path
