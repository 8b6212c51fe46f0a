"""The managed plugin with the tools of further backends built in (350 MB): `make soak`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.images import PROJECT
from tests.lab.namespace import Failed, run
from tests.lab.node import ManagedNode
from tests.lab.started import started

BACKENDS = "ceph gluster s3"
TOOLS = ("ceph-fuse", "rbd-fuse", "glusterfs", "gluster", "mkfs.xfs")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedNode]:
    built = rootfs.build(tmp_path_factory.mktemp("plugin"), BACKENDS)
    with started(ManagedNode("full", built)) as node:
        yield node


def test_every_backend_is_there_with_its_tools(full: ManagedNode) -> None:
    (full.data / "kedge.toml").write_text(
        "[profiles.local]\nbackend = 'local'\n"
        "[profiles.bucket]\nbackend = 's3'\nbucket = 'b'\nendpoint = 'http://127.0.0.1:9'\n"
        "[profiles.cluster]\nbackend = 'ceph'\nfs = 'f'\nkeyring = '/host/kedge/keyring'\n"
        "[profiles.pool]\nbackend = 'gluster'\nservers = '127.0.0.1'\nvolume = 'v'\n"
    )
    full.disable()
    full.enable()
    # in its process namespace, too: without a /proc/self of its own `gluster` ends with SIGSEGV
    inside = ["nsenter", "-t", str(full.init_pid()), "-m", "-n", "-p", "--"]
    for tool in TOOLS:
        assert run([*inside, tool, "-V" if tool == "mkfs.xfs" else "--version"])
    with pytest.raises(Failed) as found:
        full.kedge("doctor", seconds=120)
    said = found.value.output
    for name in ("bucket", "cluster", "pool"):
        assert name in said, "the profile is looked at, and only its storage is missing"
    assert "cannot be loaded" not in said


def test_an_upgrade_keeps_what_was_built_in(full: ManagedNode) -> None:
    script = str(PROJECT / "packaging/plugin.sh")
    shown = full.docker("plugin", "inspect", "-f", "{{.Config.Description}}", "kedge")
    assert shown == f"Volumes that follow a service (with: {BACKENDS})"
    assert full.engine.script([script, "built-in"]) == f"{BACKENDS}\n"


def test_without_them_there_is_no_network_and_no_device(built: Path) -> None:
    text = (built / "config.json").read_text()
    assert '"network": {"type": ""}' in text
    assert '"devices": []' in text


def test_a_backend_that_is_none_is_refused() -> None:
    packages = str(PROJECT / "packaging/backend-packages.sh")
    assert "ceph-fuse" in run([packages, "s3", "ceph"])
    with pytest.raises(Failed, match="unknown backend 'zfs' in BACKENDS; valid: ceph, gluster"):
        run([packages, "s3", "zfs"])
