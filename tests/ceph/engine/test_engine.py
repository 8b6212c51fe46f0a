"""What Docker sees of volumes on a Ceph cluster."""

from __future__ import annotations

import json

import pytest

from backends.ceph.options import Layout
from backends.options import Size
from tests.engine.test_database import Database, test_no_acknowledged_row_is_lost
from tests.engine.writer import Writer
from tests.lab.ceph import Ceph
from tests.lab.node import Node

__all__ = ["test_no_acknowledged_row_is_lost"]

pytestmark = pytest.mark.lab
managed = pytest.mark.parametrize("shared_node", ["managed"], indirect=True)
"""What differs between the packagings is seen in tests/engine, and by the database here."""


class SlowDatabase(Database):
    """Its files are made through rbd-fuse in pieces of 128 KiB, one after the other."""

    patience = 200.0


@pytest.fixture
def database(node: Node) -> Database:
    """MariaDB on each layout, once: making its files takes longest of all here."""
    layout = Layout.FILESYSTEM if node.form == "managed" else Layout.DISK
    node.create("database", f"layout={layout.value}", "size=1G")
    return SlowDatabase(node, "database")


@managed
def test_status_says_what_carries_the_data(node: Node, volume: str, layout: Layout) -> None:
    writer = Writer(node, volume)
    assert writer.lines() > 0
    status = node.status(volume)
    assert status["fencing"] == "store"
    assert status["carrier"] == {"filesystem": "ceph-fuse", "disk": "rbd-fuse"}[layout.value]
    assert node.docker("volume", "inspect", "-f", "{{.Scope}}", volume) == "global"
    place = {"filesystem": "cephfs a, subvolume kedge/", "disk": "rbd kedge/kedge-"}[layout.value]
    assert status["data"] == place + status["uuid"]
    said = f"{status['node']} ("

    def known() -> bool:
        now = node.status(volume)
        writes = now.get("clients", "").startswith(said)
        return writes and now.get("health") == "ok" and now.get("used", "0") != "0"

    node.engine.wait_for(known, "who writes, how much there is, how the cluster is", seconds=60)
    assert 0 < Size.parse(node.status(volume)["used"]) < 512 * 2**20


@managed
def test_doctor_finds_nothing_wrong(node: Node, volume: str) -> None:
    findings = json.loads(node.kedge("doctor", "--json"))
    assert [found for found in findings if found["level"] != "ok"] == []


@managed
def test_the_last_container_lets_the_clients_go(node: Node, volume: str, ceph: Ceph) -> None:
    writer = Writer(node, volume)
    assert writer.lines() > 0
    assert ceph.clients() or node.form == "managed"
    node.docker("rm", "-f", "writer")
    node.wait_for_state(volume, "detached", seconds=60)
    programs = [line for line in node.engine.box.processes().values() if "-fuse" in line]
    assert programs == [], "a client still has the volume open"


@managed
def test_snapshots_under_a_running_container(node: Node, volume: str) -> None:
    writer = Writer(node, volume)
    node.kedge("snapshot", "create", volume, "before")
    lines = writer.goes_on()
    node.docker("volume", "create", "-d", "kedge", "-o", f"from={volume}@before", "copy")
    copied = node.run("--rm", "-v", "copy:/data", "--", "sh", "-c", "wc -l < /data/log")
    assert 0 < int(copied) < lines
    node.docker("rm", "-f", "writer")
    node.wait_for_state(volume, "detached", seconds=60)
    node.kedge("snapshot", "restore", volume, "before", "--yes")
    assert int(writer.elsewhere()) == int(copied)
