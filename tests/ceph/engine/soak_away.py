"""A cluster that does not answer loses Docker no volume: `make soak`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from backends.ceph.options import Layout
from tests.ceph.engine.test_engine import managed
from tests.lab.ceph import Ceph
from tests.lab.namespace import Failed
from tests.lab.node import Node

pytestmark = pytest.mark.lab

DOCKER_SECONDS = 30.0
"""For how long it waits for one answer of a managed plugin."""
DAEMONS = {Layout.FILESYSTEM: "mds.a", Layout.DISK: "osd.0"}
"""Without which nothing can be mounted."""


@pytest.fixture
def back(ceph: Ceph, layout: Layout) -> Iterator[Callable[[], None]]:
    """Ends what hangs, if that has not been done, and waits for a healthy cluster."""

    def comes_back() -> None:
        daemon = DAEMONS[layout]
        ceph.kill(daemon)
        if daemon == "osd.0":
            ceph.mon("osd down", ids=["0"])
        ceph.spawn(daemon)
        ceph.wait_for(ceph.mds_active, "the MDS is active")
        ceph.wait_for(ceph.healthy, "HEALTH_OK")

    todo = [comes_back]
    yield lambda: todo.pop()()
    if todo:
        comes_back()


def refused(*verbs: Callable[[], object]) -> list[str]:
    """What Docker is told, each time before it gives up by itself."""
    said = []
    for verb in verbs:
        began = time.monotonic()
        with pytest.raises(Failed) as caught:
            verb()
        assert time.monotonic() - began < DOCKER_SECONDS
        said.append(str(caught.value))
    return said


@managed
def test_a_cluster_that_is_away_loses_docker_no_volume(
    node: Node, volume: str, layout: Layout, ceph: Ceph, back: Callable[[], None]
) -> None:
    """Errors in time that say why; nothing is forgotten or removed, nothing has to be restarted. A
    container can be removed all the same, and its volume is let go when that is possible."""
    options = (f"layout={layout.value}", "size=512M")
    mount = ("--rm", "-v", f"{volume}:/data", "--", "sh", "-c")
    node.create("held", *options)
    node.run("-d", "--name", "holder", "-v", "held:/data", "--", "sleep", "1000")
    node.run(*mount, "echo kept > /data/file")
    node.wait_for_state(volume, "detached", seconds=60)
    ceph.signal(DAEMONS[layout], signal.SIGSTOP)
    said = refused(
        lambda: node.run(*mount, "true"),
        lambda: node.create("other", *options),
        lambda: node.docker("volume", "rm", volume),
    )
    assert [words for words in said if "in time" not in words] == []
    began = time.monotonic()
    assert {"held", volume} <= set(node.docker("volume", "ls", "-q").split())
    assert node.status("held")["state"] == "attached"
    node.docker("rm", "-f", "holder")
    assert time.monotonic() - began < DOCKER_SECONDS
    back()
    node.engine.wait_for(lambda: reads(node, *mount), "it is mounted again", seconds=90)
    node.wait_for_state("held", "detached", seconds=90)


def reads(node: Node, *mount: str) -> bool:
    try:
        return node.run(*mount, "cat /data/file") == "kept"
    except Failed:
        return False
