"""Containers on volumes in a bucket, the driver being Docker's managed plugin: `make soak`.

The processes that serve a disk end with the plugin, and with them what the kernel has not been
told to write; what was synced is on the node's disk and is there again when the plugin is back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import NUMBERS
from tests.engine.test_containers import (
    test_copy_from_a_stopped_container,
    test_copy_from_and_to_a_running_container_keeps_its_mount,
    test_data_stay_from_container_to_container,
    test_image_files_are_copied_into_an_empty_volume,
    test_remove_is_refused_while_a_container_has_it,
    test_stop_start_restart_kill,
    test_two_containers_share_one_mount,
)
from tests.engine.test_database import Database, test_no_acknowledged_row_is_lost
from tests.engine.test_deaths import (
    let_go,
    test_service_killed_during_calls,
    test_service_killed_while_a_container_writes,
)
from tests.lab import rootfs
from tests.lab.namespace import Failed
from tests.lab.node import ManagedNode, Node
from tests.lab.object_store import Moto, ObjectStore
from tests.lab.s3_nodes import BUCKET
from tests.lab.started import started

__all__ = [
    "test_copy_from_a_stopped_container",
    "test_copy_from_and_to_a_running_container_keeps_its_mount",
    "test_data_stay_from_container_to_container",
    "test_image_files_are_copied_into_an_empty_volume",
    "test_no_acknowledged_row_is_lost",
    "test_remove_is_refused_while_a_container_has_it",
    "test_service_killed_during_calls",
    "test_service_killed_while_a_container_writes",
    "test_stop_start_restart_kill",
    "test_two_containers_share_one_mount",
]
"""Nothing here differs from other backends."""

OPTIONS = ("log=128M", "cache=64M")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The managed plugin as `make plugin BACKENDS=s3` builds it."""
    return rootfs.build(tmp_path_factory.mktemp("plugin"), "s3")


@pytest.fixture(scope="session")
def server() -> Iterator[ObjectStore]:
    with started(Moto()) as made:
        made.bucket(BUCKET)
        yield made


@pytest.fixture(scope="session")
def shared_node(built: Path, server: ObjectStore) -> Iterator[Node]:
    made = ManagedNode(f"s3-managed-{next(NUMBERS)}", built)
    server.credentials(made.data / "s3-credentials")
    (made.data / "kedge.toml").write_text(
        f'[profiles.my-s3]\nbackend = "s3"\nbucket = "{BUCKET}"\n'
        f'endpoint = "{server.endpoint.url}"\nregion = "{server.endpoint.region}"\n'
        'path_style = true\ncredentials = "/host/kedge/s3-credentials"\n'
        '[profiles.local]\nbackend = "local"\n'
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def volume(node: Node) -> str:
    """A new volume in the bucket, by its name."""
    name = f"vol-{next(NUMBERS)}"
    node.create(name, "backend=my-s3", "size=256M", *OPTIONS)
    return name


@pytest.fixture
def database(node: Node) -> Database:
    node.create("database", "backend=my-s3", "size=1G", "log=256M", "cache=64M")
    return Database(node, "database")


class Synced:
    """The container `writer` appends numbered lines, each synced, and prints what was."""

    LOOP = (
        "touch /data/log; n=$(wc -l < /data/log); while :; do n=$((n+1)); "
        "echo $n >> /data/log && sync -d /data/log && echo $n || exit 1; sleep 0.02; done"
    )

    def __init__(self, node: Node, volume: str) -> None:
        self._node, self._volume = node, volume
        mount = f"{volume}:/data"
        node.run("-d", "--name", "writer", "-v", mount, "--", "sh", "-c", self.LOOP)
        self.goes_on()

    def confirmed(self) -> int:
        """The last line that it printed as synced."""
        said = self._node.docker("logs", "--tail", "20", "writer").split()
        return max((int(word) for word in said if word.isdigit()), default=0)

    def goes_on(self) -> None:
        """Wait until more lines are confirmed."""
        before = self.confirmed()
        self._node.engine.wait_for(lambda: self.confirmed() > before + 5, "the writer goes on")

    def check(self, least: int) -> None:
        """In another container: lines 1, 2, 3, ..., and all that were confirmed."""
        show = ("--", "cat", "/data/log")
        found = self._node.run("--rm", "-v", f"{self._volume}:/data", *show).split()
        assert found == [str(n) for n in range(1, len(found) + 1)]
        assert len(found) >= least


def test_disabled_and_enabled_under_a_running_container(node: Node, volume: str) -> None:
    """The container gets errors, never another directory; everything confirmed is there again."""
    writer = Synced(node, volume)
    node.disable()
    confirmed = writer.confirmed()
    assert confirmed > 5
    node.enable()
    node.docker("rm", "-f", "writer")
    writer.check(confirmed)
    writer = Synced(node, volume)
    let_go(node, volume)


def test_plugin_killed_while_a_container_writes(node: Node, volume: str) -> None:
    """kill -9 of its first process: Docker ends the rest, and starts it again."""
    writer = Synced(node, volume)
    old = node.init_pid()
    os.kill(old, signal.SIGKILL)
    node.engine.wait_for(lambda: node.first_process() not in (0, old), "a new first process")
    confirmed = writer.confirmed()
    assert confirmed > 5
    node.docker("rm", "-f", "writer")
    writer.check(confirmed)
    let_go_of_nobody(node, volume)


def test_a_container_is_restarted_on_a_plugin_that_came_back(node: Node, volume: str) -> None:
    """`docker restart` of the container whose volume lost its server: it is mounted again."""
    writer = Synced(node, volume)
    confirmed = writer.confirmed()
    node.disable()
    node.enable()
    node.docker("restart", "-t", "1", "writer")
    node.engine.wait_for(lambda: writer.confirmed() > confirmed, "the writer goes on")
    let_go(node, volume)


def test_engine_killed_while_a_container_writes(node: Node, volume: str) -> None:
    writer = Synced(node, volume)
    node.engine.kill()
    node.engine.start()
    confirmed = writer.confirmed()
    assert confirmed > 5
    node.docker("start", "writer")
    node.engine.wait_for(lambda: writer.confirmed() > confirmed, "the writer goes on")
    node.docker("rm", "-f", "writer")
    writer.check(confirmed)
    let_go_of_nobody(node, volume)


def test_size_is_enforced_and_grows(node: Node) -> None:
    node.create("small-volume", "backend=my-s3", "size=64M", "log=128M", "cache=16M")
    fill = ("--", "sh", "-c", "dd if=/dev/zero of=/data/fill bs=1M count=100")
    with pytest.raises(Failed, match="No space left"):
        node.run("--rm", "-v", "small-volume:/data", *fill)
    node.kedge("resize", "small-volume", "256M")
    assert node.run("--rm", "-v", "small-volume:/data", *fill) == ""


def let_go_of_nobody(node: Node, volume: str) -> None:
    """The volume comes to rest when no container has it."""
    node.wait_for_state(volume, "detached", seconds=60)
    assert node.mounted() == []
