"""dockerd, killed and started again, may unmount the propagated mount it has just made."""

import pytest

from tests.lab.node import Node


@pytest.mark.parametrize("shared_node", ["managed"], indirect=True)
def test_a_lost_propagated_mount_never_hands_out_a_bare_directory(node: Node, volume: str) -> None:
    node.run("--rm", "-v", f"{volume}:/data", "--", "sh", "-c", "echo kept > /data/file")
    identity = node.docker("plugin", "inspect", "-f", "{{.Id}}", "kedge")
    node.engine.box.run(["umount", f"{node.engine.data}/plugins/{identity}/propagated-mount"])
    assert node.run("--rm", "-v", f"{volume}:/data", "--", "cat", "/data/file") == "kept"
    assert "has lost /mnt/kedge; mounting it there again" in node.log()
