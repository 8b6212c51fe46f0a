"""An engine with `--userns-remap`: root in a container is nobody on the host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.namespace import Failed
from tests.lab.node import Node, SocketNode

FIRST = 100_000
"""Of the host's ids, the one that a container's root has."""
ETC = (
    "cp -a /etc /run/etc && cd /run/etc && mount --bind /run/etc /etc"
    f" && echo nobody:{FIRST}:65536 > subuid && cp subuid subgid"
)


@pytest.fixture(scope="module")
def remapped() -> Iterator[Node]:
    node = SocketNode("remapped")
    try:
        for place in (node.engine.root, node.data.parent, node.data):
            place.chmod(0o711)  # as /var/lib is
        node.engine.box.run(["sh", "-c", ETC])
        node.engine.options = ["--userns-remap", "nobody:nogroup"]
        node.start()
        yield node
        node.clear()
    finally:
        node.close()


def test_a_volume_that_belongs_to_the_remapped_root_is_written(remapped: Node) -> None:
    for layout in ("directory", "image"):
        size = ["size=64M"] if layout == "image" else []
        remapped.create(f"ours-{layout}", f"uid={FIRST}", f"gid={FIRST}", *size)
        script = "echo kept > /data/file && stat -c '%u:%g' /data /data/file && cat /data/file"
        shown = remapped.run("--rm", "-v", f"ours-{layout}:/data", "--", "sh", "-c", script)
        assert shown.split() == ["0:0", "0:0", "kept"]


def test_one_that_belongs_to_the_host_s_root_is_not(remapped: Node) -> None:
    remapped.create("theirs")
    with pytest.raises(Failed, match="Permission denied"):
        remapped.run("--rm", "-v", "theirs:/data", "--", "touch", "/data/file")


def test_what_an_image_brings_along_belongs_to_the_container(remapped: Node) -> None:
    remapped.create("seeded", f"uid={FIRST}", f"gid={FIRST}")
    look = ("--", "sh", "-c", "stat -c '%u:%g' /seeded /seeded/one")
    assert remapped.run("--rm", "-v", "seeded:/seeded", *look).split() == ["999:998", "999:998"]
