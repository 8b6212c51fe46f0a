"""Two nodes with the whole service each: the pool does not answer one of them, and it stops itself
before its lease can end; the other gets the volume, with everything that was acknowledged."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.service import Service, running
from tests.gluster.conftest import VOLUME, clean
from tests.gluster.test_faults import frozen
from tests.gluster.writing import Writer
from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab

TTL = 6.0
"""Of a lease, in seconds; the default."""


@contextmanager
def node(pool: Pool, tmp_path: Path, name: str) -> Iterator[Service]:
    """The service of one node on the pool."""
    home = tmp_path / name
    config = f"""
        node = "{name}"
        lease_ttl = {TTL}
        [profiles.pool]
        backend = "gluster"
        servers = "{",".join(pool.addresses)}"
        volume = "{VOLUME}"
        subdirectory = "{tmp_path.name}"
        for_databases = true
    """
    try:
        with running(home, config) as service:
            yield service
    finally:
        clean(tmp_path)


def mounted(service: Service, seconds: float = 90) -> Path:
    """Where `db` is, once this node gets it."""
    end = time.monotonic() + seconds
    while True:
        try:
            return service.mount("db")
        except RuntimeError:
            if time.monotonic() > end:
                raise


@pytest.mark.parametrize("options", [None, {"size": "64M"}], ids=["directory", "image"])
def test_a_node_that_the_pool_does_not_answer_stops_itself_before_its_lease_ends(
    pool: Pool, tmp_path: Path, options: dict[str, str] | None
) -> None:
    with node(pool, tmp_path, "a") as first, node(pool, tmp_path, "b") as second:
        first.call("VolumeDriver.Create", Name="db", Opts=options)
        with Writer(first.mount("db") / "lines", pause=0.01) as writer:
            writer.wait_for(20)
            with frozen(pool):
                begun = time.monotonic()
                writer.wait_failed(seconds=60)
                took = time.monotonic() - begun
                acknowledged = writer.acknowledged()
            assert took < TTL
        lines = (mounted(second) / "lines").read_bytes().splitlines()
        assert len(lines) in (acknowledged, acknowledged + 1)
        second.unmount("db")
