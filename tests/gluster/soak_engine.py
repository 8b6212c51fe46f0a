"""Containers, and a snapshot under one, on a profile of a real pool, on a real engine."""

from collections.abc import Iterator

import pytest

from tests.gluster.conftest import VOLUME
from tests.lab.gluster import Pool
from tests.lab.namespace import Failed
from tests.lab.node import Node, SocketNode

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


@pytest.fixture(scope="module")
def engine_node(pool: Pool) -> Iterator[Node]:
    """An engine with the driver beside it."""
    node = SocketNode("gluster-socket")
    (node.data / "kedge.toml").write_text(profile(pool, "engine"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def node(engine_node: Node) -> Iterator[Node]:
    yield engine_node
    engine_node.clear()


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
    node.docker("exec", "one", "sh", "-c", "echo one > /v/f; sync")
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
