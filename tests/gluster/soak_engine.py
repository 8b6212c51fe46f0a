"""Containers, a database, and a snapshot under one, on a real pool: a real engine with the driver
in either packaging.
"""

from collections.abc import Iterator

import pytest

from tests.engine.test_database import Database, test_no_acknowledged_row_is_lost
from tests.gluster.conftest import VOLUME
from tests.lab import rootfs
from tests.lab.gluster import Pool
from tests.lab.namespace import Failed
from tests.lab.node import Node, packaged
from tests.lab.started import started

__all__ = ["test_no_acknowledged_row_is_lost"]

pytestmark = pytest.mark.lab


def profile(pool: Pool, subdirectory: str) -> str:
    """The settings of a node whose default is this pool."""
    return f"""
        [profiles.pool]
        backend = "gluster"
        servers = "{",".join(pool.addresses)}"
        volume = "{VOLUME}"
        subdirectory = "{subdirectory}"
        for_databases = true
    """


@pytest.fixture(scope="module", params=["managed", "socket"])
def engine_node(
    request: pytest.FixtureRequest, pool: Pool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """An engine with the driver on it, as plugin with Gluster's tools built in, or beside it."""
    node = packaged(
        request.param,
        f"gluster-{request.param}",
        lambda: rootfs.build(tmp_path_factory.mktemp("plugin"), "gluster"),
    )
    (node.data / "kedge.toml").write_text(profile(pool, f"engine-{request.param}"))
    with started(node):
        yield node


@pytest.fixture
def node(engine_node: Node) -> Iterator[Node]:
    yield engine_node
    engine_node.clear()


class SlowDatabase(Database):
    """Its files are made on three servers."""

    patience = 200.0


@pytest.fixture(params=["directory", "image"])
def database(request: pytest.FixtureRequest, node: Node) -> Database:
    """MariaDB on a new volume of each layout."""
    node.create("database", *layout(request.param))
    return SlowDatabase(node, "database")


def layout(name: str) -> list[str]:
    """The options of a volume of this layout."""
    return ["size=1G"] if name == "image" else []


@pytest.mark.parametrize("kind", ["directory", "image"])
def test_containers_share_a_volume_and_keep_it(node: Node, kind: str) -> None:
    node.create("vol", *layout(kind))
    assert node.status("vol")["fencing"] == "node"
    node.run("-d", "--name", "one", "-v", "vol:/v", "--", "sleep", "600")
    node.docker("exec", "one", "sh", "-c", "echo one > /v/f")
    assert node.run("--rm", "-v", "vol:/v", "--", "cat", "/v/f") == "one"
    with pytest.raises(Failed, match="in use"):
        node.docker("volume", "rm", "vol")
    node.kill_service()
    node.docker("exec", "one", "sh", "-c", "echo two >> /v/f")
    node.docker("rm", "-f", "one")
    node.wait_for_state("vol", "detached")
    assert node.run("--rm", "-v", "vol:/v", "--", "cat", "/v/f") == "one\ntwo"


def test_a_snapshot_under_a_container(node: Node) -> None:
    node.create("vol", "size=64M")
    node.run("-d", "--name", "one", "-v", "vol:/v", "--", "sleep", "600")
    node.docker("exec", "one", "sh", "-c", "echo one > /v/f; sync /v/f")
    node.kedge("snapshot", "create", "vol", "before")
    node.docker("exec", "one", "sh", "-c", "echo two > /v/f")
    node.create("copy", "from=vol@before")
    assert node.run("--rm", "-v", "copy:/v", "--", "cat", "/v/f") == "one"
    with pytest.raises(Failed, match="in use"):
        node.kedge("snapshot", "restore", "vol", "before", "--yes")
    node.docker("rm", "-f", "one")
    node.wait_for_state("vol", "detached")
    node.kedge("snapshot", "restore", "vol", "before", "--yes")
    assert node.run("--rm", "-v", "vol:/v", "--", "cat", "/v/f") == "one"


def test_the_doctor_asks_the_pool(node: Node) -> None:
    """With the tools that the packaging brings; its servers would wait long for a node."""
    said = node.kedge("doctor")
    assert "Replicate, 1 x 3 = 3 bricks" in said
    assert "network.ping-timeout" not in said
    assert "server.tcp-user-timeout 10" in said
