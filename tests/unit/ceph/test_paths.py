"""Where things of a volume are on this node."""

from pathlib import Path
from typing import Any, cast

from backends.ceph.layout import Place
from backends.ceph.options import CephSettings
from backends.ceph.rbd_fuse import RbdFuse

SETTINGS = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")


def test_two_nodes_on_one_machine_never_spell_a_device_alike(tmp_path: Path) -> None:
    """The kernel shows every container's loop devices to all, by the path that each has for its
    file. With the same path, the device of a stale node passed for this node's own."""

    def place(node: str) -> Path:
        nothing = cast(Any, None)
        parts = (nothing,) * 5
        made = Place(SETTINGS, *parts, tmp_path, node, "ceph", nothing)
        return RbdFuse(made).mountpoint("u")

    assert place("n1") != place("n2")
    assert place("n1").name == place("n2").name == "u"
