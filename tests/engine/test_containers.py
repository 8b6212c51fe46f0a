"""Containers on volumes: what arrives where, and who holds what."""

from __future__ import annotations

import time

import pytest

from tests.lab.namespace import Failed
from tests.lab.node import DRIVER, Node

FOREVER = ("--", "sleep", "1000")


def test_data_stay_from_container_to_container(node: Node, volume: str) -> None:
    node.run("--rm", "-v", f"{volume}:/data", "--", "sh", "-c", "echo kept > /data/file")
    assert node.run("--rm", "-v", f"{volume}:/data", "--", "cat", "/data/file") == "kept"
    assert node.status(volume)["state"] == "detached"


def test_size_is_enforced(node: Node) -> None:
    node.create("small-volume", "size=64M")
    fill = "dd if=/dev/zero of=/data/fill bs=1M count=100"
    with pytest.raises(Failed, match="No space left"):
        node.run("--rm", "-v", "small-volume:/data", "--", "sh", "-c", fill)


def test_two_containers_share_one_mount(node: Node, volume: str) -> None:
    for name in ("one", "two"):
        node.run("-d", "--name", name, "-v", f"{volume}:/data", *FOREVER)
    assert node.status(volume)["holders"] == "2"
    node.docker("exec", "one", "sh", "-c", "echo hello > /data/file")
    assert node.docker("exec", "two", "cat", "/data/file") == "hello"
    node.docker("rm", "-f", "one")
    assert node.status(volume)["holders"] == "1"
    assert node.docker("exec", "two", "cat", "/data/file") == "hello"
    node.docker("rm", "-f", "two")
    assert node.status(volume)["state"] == "detached"


def test_read_only_container(node: Node, volume: str) -> None:
    with pytest.raises(Failed, match="Read-only file system"):
        node.run("--rm", "-v", f"{volume}:/data:ro", "--", "touch", "/data/file")
    node.run("--rm", "-v", f"{volume}:/data", "--", "touch", "/data/file")


def test_copy_from_and_to_a_running_container_keeps_its_mount(node: Node, volume: str) -> None:
    node.run("-d", "--name", "db", "-v", f"{volume}:/data", *FOREVER)
    node.docker("exec", "db", "sh", "-c", "echo inside > /data/file")
    for _ in range(3):  # Docker mounts and unmounts under the running container's own mount ID
        node.docker("cp", "db:/data/file", str(node.engine.root / "copied"))
        node.docker("cp", str(node.engine.root / "copied"), "db:/data/back")
    assert node.status(volume)["holders"] == "1"
    assert node.status(volume)["state"] == "attached"
    assert node.docker("exec", "db", "sh", "-c", "echo more >> /data/back && cat /data/back")


def test_copy_from_a_stopped_container(node: Node, volume: str) -> None:
    node.run("--name", "done", "-v", f"{volume}:/data", "--", "sh", "-c", "echo left > /data/file")
    node.docker("cp", "done:/data/file", str(node.engine.root / "left"))
    assert (node.engine.root / "left").read_text() == "left\n"
    assert node.status(volume)["state"] == "detached"


def test_stop_start_restart_kill(node: Node, volume: str) -> None:
    script = "trap exit TERM; while :; do date >> /data/log; sleep 0.1; done"
    node.run("-d", "--name", "writer", "-v", f"{volume}:/data", "--", "sh", "-c", script)
    for step in ("restart", "stop", "start", "kill", "start"):
        node.docker(step, "writer")
        state = "detached" if step in ("stop", "kill") else "attached"
        node.wait_for_state(volume, state)
    assert node.status(volume)["holders"] == "1"


def test_remove_is_refused_while_a_container_has_it(node: Node, volume: str) -> None:
    node.run("-d", "--name", "user", "-v", f"{volume}:/data", *FOREVER)
    for force in ([], ["-f"]):
        with pytest.raises(Failed, match="volume is in use"):
            node.docker("volume", "rm", *force, volume)
    assert node.docker("exec", "user", "touch", "/data/still-there") == ""
    node.docker("rm", "-f", "user")
    node.docker("volume", "rm", volume)


def test_image_files_are_copied_into_an_empty_volume(node: Node, volume: str) -> None:
    shown = node.run(
        "--rm",
        "-v",
        f"{volume}:/seeded",
        "--",
        "sh",
        "-c",
        "stat -c '%u:%g %a %n' /seeded /seeded/*",
    )
    assert shown.splitlines() == [
        "999:998 750 /seeded",
        "999:998 644 /seeded/one",
        "999:998 644 /seeded/two",
    ]
    node.run("--rm", "-v", f"{volume}:/seeded", "--", "rm", "/seeded/one")
    again = node.run("--rm", "-v", f"{volume}:/seeded", "--", "ls", "/seeded")
    assert again == "two", "a volume with files is left as it is"


def test_owner_and_mode_options(node: Node) -> None:
    node.create("owned", "uid=70", "gid=71", "mode=0750")
    shown = node.run("--rm", "-v", "owned:/data", "--", "stat", "-c", "%u:%g %a", "/data")
    assert shown == "70:71 750"


def test_volume_made_by_run(node: Node) -> None:
    node.run(
        "--rm",
        "--mount",
        f"type=volume,src=by-run,dst=/data,volume-driver={DRIVER},volume-opt=size=64M",
        "--",
        "touch",
        "/data/file",
    )
    assert node.status("by-run")["size"] == "64M"


def test_grows_while_mounted_or_says_when(node: Node) -> None:
    node.create("growing", "size=64M")
    node.run("-d", "--name", "user", "-v", "growing:/data", *FOREVER)
    said = node.kedge("resize", "growing", "256M")
    assert "growing: 256M, takes effect" in said
    node.docker("rm", "-f", "user")
    df = node.run("--rm", "-v", "growing:/data", "--", "df", "-m", "/data")
    assert int(df.splitlines()[1].split()[1]) > 200


def test_forty_volumes_at_once(node: Node) -> None:
    begin = time.monotonic()
    names = [f"many-{number}" for number in range(40)]
    for number, name in enumerate(names):
        node.create(name, *(["size=32M"] if number % 2 else []))
    mounts = [word for name in names for word in ("-v", f"{name}:/{name}")]
    node.run(
        "-d",
        "--name",
        "user",
        *mounts,
        "--",
        "sh",
        "-c",
        "for n in /many-*; do echo $n > $n/name; done; sleep 1000",
    )
    node.engine.wait_for(
        lambda: node.docker("exec", "user", "sh", "-c", "cat /many-*/name | wc -l") == "40",
        "every volume is written",
    )
    shown = {volume["name"]: volume["status"]["state"] for volume in node.volumes()}
    assert shown == dict.fromkeys(names, "attached")
    node.docker("rm", "-f", "user", seconds=120)
    assert {volume["status"]["state"] for volume in node.volumes()} == {"detached"}
    for name in ("many-0", "many-1", "many-39"):
        assert node.run("--rm", "-v", f"{name}:/data", "--", "cat", "/data/name") == f"/{name}"
    assert time.monotonic() - begin < 60
