"""Further kinds of mounts; run by `make soak`."""

from __future__ import annotations

import pytest

from tests.lab.namespace import Failed
from tests.lab.node import Node

FOREVER = ("--", "sleep", "1000")


def test_nocopy_leaves_the_volume_empty_and_as_it_was_made(node: Node, volume: str) -> None:
    look = ("--", "sh", "-c", "stat -c '%u:%g' /seeded; ls -A /seeded")
    assert node.run("--rm", "-v", f"{volume}:/seeded:nocopy", *look) == "0:0"
    mount = f"type=volume,src={volume},dst=/seeded,volume-nocopy=true"
    assert node.run("--rm", "--mount", mount, *look) == "0:0"


def test_a_reader_beside_a_writer(node: Node, volume: str) -> None:
    """Read-only is the container's affair: the volume is one mount, writable, for both."""
    node.run("-d", "--name", "reader", "-v", f"{volume}:/data:ro", *FOREVER)
    node.run("--rm", "-v", f"{volume}:/data", "--", "sh", "-c", "echo new > /data/file")
    assert node.docker("exec", "reader", "cat", "/data/file") == "new"
    with pytest.raises(Failed, match="Read-only file system"):
        node.docker("exec", "reader", "touch", "/data/other")
    assert node.status(volume)["holders"] == "1"
