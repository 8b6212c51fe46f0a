"""Engine, driver and its first process die or are stopped while a container writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.engine.writer import Writer
from tests.lab.node import ManagedNode, Node


@pytest.fixture
def live_restore(node: Node) -> Iterator[Node]:
    """The node with an engine whose containers outlive it."""
    node.engine.live_restore = True
    node.engine.restart()
    yield node
    node.clear()
    node.engine.live_restore = False
    node.engine.restart()


PATIENCE = 60
"""Seconds. A reference that a killed engine forgot is dropped with its container's Unmount, or,
when the container's processes are still dying then, by the keeper half a minute later."""


def let_go(node: Node, volume: str) -> None:
    """Remove the writer; the volume must come to rest, whatever was lost on the way."""
    node.docker("rm", "-f", "writer")
    node.wait_for_state(volume, "detached", seconds=PATIENCE)
    assert node.mounted() == []


def test_engine_killed_and_restarted(node: Node, volume: str) -> None:
    writer = Writer(node, volume, "--restart", "always")
    lines = writer.lines()
    node.engine.kill()
    node.engine.start()
    node.engine.wait_for(lambda: node.docker("ps", "-q") != "", "the container is started again")
    assert writer.goes_on() > lines
    assert node.status(volume)["state"] == "attached"
    let_go(node, volume)


def test_engine_killed_with_its_containers(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    lines = writer.lines()
    node.engine.kill()
    node.engine.start()
    assert node.docker("ps", "-q") == ""
    node.docker("start", "writer")
    assert writer.goes_on() > lines
    let_go(node, volume)


def test_engine_stopped_in_order(node: Node, volume: str) -> None:
    Writer(node, volume)
    node.engine.restart()
    node.wait_for_state(volume, "detached")
    node.docker("start", "writer")
    node.wait_for_state(volume, "attached")


def test_engine_killed_under_live_restore(live_restore: Node, volume: str) -> None:
    node = live_restore
    writer = Writer(node, volume)
    started, lines = writer.started(), writer.lines()
    node.engine.kill()
    node.engine.start()
    assert writer.started() == started, "the container was not touched"
    assert writer.goes_on() > lines
    assert node.status(volume)["state"] == "attached"
    assert writer.elsewhere() >= lines
    let_go(node, volume)


def test_service_killed_while_a_container_writes(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    started, lines = writer.started(), writer.lines()
    for _ in range(3):
        node.kill_service()
        lines = writer.goes_on()
    assert writer.started() == started
    assert node.status(volume)["state"] == "attached"
    assert node.status(volume)["holders"] == "1"
    assert writer.elsewhere() >= lines
    assert node.status(volume)["holders"] == "1"
    let_go(node, volume)


def test_service_killed_during_calls(node: Node, volume: str) -> None:
    """The socket never refuses: Docker's calls wait, or are repeated, and come out right."""
    pid = node.service_pid()
    os.kill(pid, signal.SIGKILL)
    assert node.run("--rm", "-v", f"{volume}:/data", "--", "sh", "-c", "echo in > /data/f") == ""
    node.kill_service()
    assert node.run("--rm", "-v", f"{volume}:/data", "--", "cat", "/data/f") == "in"


def test_disabled_and_enabled_under_a_running_container(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    started, lines = writer.started(), writer.lines()
    node.disable()
    assert writer.goes_on() > lines, "the mount belongs to the kernel"
    node.enable()
    assert writer.started() == started
    node.wait_for_state(volume, "attached")
    assert writer.elsewhere() >= lines
    let_go(node, volume)


def test_container_removed_while_the_driver_is_disabled(node: Node, volume: str) -> None:
    """The Unmount is lost for good; the volume must not be."""
    lines = Writer(node, volume).lines()
    node.disable()
    node.docker("rm", "-f", "writer")
    node.enable()
    writer = Writer(node, volume)
    assert writer.lines() >= lines
    node.docker("rm", "-f", "writer")
    node.remove(volume)
    assert node.mounted() == []


def test_stop_of_the_driver_is_clean_and_quick(node: Node) -> None:
    node.disable()
    node.enable()
    assert "killing it" not in node.log()


def test_first_process_killed(node: Node, volume: str) -> None:
    """Docker restarts a plugin whose first process dies; systemd restarts a service."""
    writer = Writer(node, volume)
    lines = writer.lines()
    old = node.init_pid()
    os.kill(old, signal.SIGKILL)
    if not isinstance(node, ManagedNode):
        node.enable()
    node.engine.wait_for(lambda: node.first_process() not in (0, old), "a new first process")
    assert writer.goes_on() > lines
    node.wait_for_state(volume, "attached")
    assert writer.elsewhere() >= lines
    let_go(node, volume)
