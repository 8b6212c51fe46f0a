"""`make install`, upgrade and `make uninstall` of the managed plugin, and the demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.writer import Writer
from tests.lab.engine import CLIENT, Engine
from tests.lab.images import PROJECT
from tests.lab.namespace import Failed
from tests.lab.node import ManagedNode, Node
from tests.lab.started import started

managed = pytest.mark.parametrize("shared_node", ["managed"], indirect=True)


def plugin(node: Node, verb: str) -> str:
    """What `make install` and `make uninstall` run, with the command in the node's directory."""
    assert isinstance(node, ManagedNode)
    built = [str(node.built)] if verb == "install" else []
    argv = [str(PROJECT / "packaging/plugin.sh"), verb, *built]
    return node.engine.script(argv, KEDGE_COMMAND=str(command(node)))


def command(node: Node) -> Path:
    return node.engine.root / "kedge"


@managed
def test_upgrade_keeps_settings_volumes_and_data(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    started, uuid = writer.started(), node.status(volume)["uuid"]
    node.docker("volume", "create", "-d", "kedge", "--label", "team=db", "labelled")
    old = node.docker("plugin", "inspect", "-f", "{{.Id}}", "kedge")
    lines = writer.goes_on()

    assert "Upgrading: settings, volumes and data are kept" in plugin(node, "install")

    assert node.docker("plugin", "inspect", "-f", "{{.Id}}", "kedge") != old
    assert writer.started() == started, "the container went on"
    assert writer.goes_on() > lines
    node.wait_for_state(volume, "attached")
    assert node.status(volume)["uuid"] == uuid
    assert writer.elsewhere() > lines
    assert {shown["name"] for shown in node.volumes()} == {volume, "labelled"}
    labels = node.engine.inspect("volume", "inspect", "labelled")["Labels"]
    assert labels == {"team": "db"}


@managed
def test_command_on_the_host_reaches_into_the_plugin(node: Node, volume: str) -> None:
    plugin(node, "install")
    docker = f"{Path(CLIENT).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    env = ["env", f"DOCKER_HOST={node.engine.host}", f"PATH={docker}"]
    assert volume in node.engine.box.run([*env, str(command(node)), "ls"])
    node.disable()
    with pytest.raises(Failed, match="the plugin kedge is disabled"):
        node.engine.box.run([*env, str(command(node)), "ls"])
    node.enable()


@managed
def test_uninstall_is_refused_in_use_and_keeps_the_data(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    lines = writer.lines()
    with pytest.raises(Failed, match="Containers have volumes of kedge"):
        plugin(node, "uninstall")
    assert writer.goes_on() > lines
    node.docker("rm", "-f", "writer")
    assert f"stay in {node.data}" in plugin(node, "uninstall")
    assert node.docker("plugin", "ls", "-q") == ""
    node.install()
    assert Writer(node, volume).lines() >= lines


@managed
def test_forced_removal_of_the_plugin_deletes_no_data(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    node.docker("plugin", "disable", "-f", "kedge")
    node.docker("plugin", "rm", "-f", "kedge")
    lines = writer.goes_on()
    node.install()
    assert writer.elsewhere() >= lines


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine without the driver, whose /var/lib is its own."""
    with started(Engine("demo")) as made:
        made.box.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"])
        yield made


def test_demo_twice_and_cleaned_up(engine: Engine, built: Path) -> None:
    def demo(verb: str) -> str:
        settings = {
            "DOCKER_HOST": engine.host,
            "DOCKER": CLIENT,
            "KEDGE_BUILT": str(built),
            "KEDGE_COMMAND": str(engine.root / "kedge"),
        }
        env = [f"{key}={value}" for key, value in settings.items()]
        script = str(PROJECT / "packaging/demo.sh")
        return engine.box.run(["env", *env, script, verb], seconds=280)

    first = demo("run")
    assert "written by the first container" in first
    assert '"state": "attached"' in first
    assert demo("run").count("| written by the first container |") == 2, "the volume was kept"
    demo("clean")
    assert engine.docker("ps", "-aq") == ""
    assert engine.docker("plugin", "ls", "-q") == ""
    volumes = engine.box.path("/var/lib/kedge/local/volumes")
    assert list(volumes.iterdir()) == []
