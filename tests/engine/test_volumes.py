"""`docker volume ...` on a real engine."""

from __future__ import annotations

import json

import pytest

from tests.lab.namespace import Failed
from tests.lab.node import DRIVER, Node


def test_create_is_inspected_and_listed(node: Node) -> None:
    node.create("made", "size=64M", "fs=ext4")
    shown = node.engine.inspect("volume", "inspect", "made")
    assert shown["Driver"].removesuffix(":latest") == DRIVER
    assert shown["Scope"] == "local"
    assert shown["Mountpoint"] == ""
    assert not shown["CreatedAt"].startswith("0001")
    status = shown["Status"]
    assert status["layout"] == "image"
    assert status["size"] == "64M"
    assert status["state"] == "detached"
    assert "made" in node.docker("volume", "ls", "-q").split()


def test_create_again_is_the_same_volume(node: Node, volume: str) -> None:
    first = node.status(volume)["uuid"]
    node.create(volume)
    assert node.status(volume)["uuid"] == first


def test_remove_is_final(node: Node, volume: str) -> None:
    node.run("--rm", "-v", f"{volume}:/data", "--", "touch", "/data/old")
    node.docker("volume", "rm", volume)
    assert volume not in node.docker("volume", "ls", "-q").split()
    with pytest.raises(Failed, match=r"[Nn]o such volume"):
        node.docker("volume", "inspect", volume)
    node.create(volume)
    assert node.run("--rm", "-v", f"{volume}:/data", "--", "ls", "-A", "/data") == ""


def test_remove_of_what_is_not_there(node: Node) -> None:
    with pytest.raises(Failed, match=r"[Nn]o such volume"):
        node.docker("volume", "rm", "never-made")
    node.docker("volume", "rm", "-f", "never-made")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["sise=1G"], "sise"),
        (["size=much"], "size"),
        (["layout=image"], "layout=image needs a size"),
        (["size=1G", "layout=directory"], "cannot be enforced in a plain directory"),
        (["backend=nowhere"], "backend='nowhere' is not a profile; there are: local"),
        (["fs=ntfs", "size=1G"], "ntfs"),
    ],
)
def test_bad_options_are_refused_with_a_reason(node: Node, options: list[str], said: str) -> None:
    with pytest.raises(Failed, match=said):
        node.create("refused", *options)
    assert "refused" not in node.docker("volume", "ls", "-q").split()


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "-dash", "ü", "n" * 300])
def test_hostile_names_are_refused(node: Node, name: str) -> None:
    with pytest.raises(Failed, match="name"):
        node.docker("volume", "create", "-d", DRIVER, "--name", name)
    assert node.volumes() == []


def test_labels_and_options_stay_with_docker(node: Node) -> None:
    given = ["--label", "team=db", "-o", "mode=0700"]
    node.docker("volume", "create", "-d", DRIVER, *given, "labelled")
    node.engine.restart()
    shown = node.engine.inspect("volume", "inspect", "labelled")
    assert shown["Labels"] == {"team": "db"}
    assert shown["Options"] == {"mode": "0700"}
    assert shown["Status"]["mode"] == "0700"


def test_anonymous_volume_goes_with_its_container(node: Node) -> None:
    node.run("--rm", "--volume-driver", DRIVER, "-v", "/data", "--", "touch", "/data/file")
    assert node.volumes() == []


def test_prune_leaves_volumes_alone(node: Node, volume: str) -> None:
    node.docker("volume", "prune", "-f")
    assert [shown["name"] for shown in node.volumes()] == [volume]


def test_operator_sees_what_docker_sees(node: Node, volume: str) -> None:
    assert json.loads(node.kedge("inspect", volume, "--json"))["status"] == {
        key: value for key, value in node.status(volume).items() if key != "mountpoint"
    }


def test_doctor_finds_nothing_wrong(node: Node) -> None:
    findings = json.loads(node.kedge("doctor", "--json"))
    assert findings
    assert [found for found in findings if found["level"] != "ok"] == []
