"""Settings and options: every problem at once, nothing that could become an argument."""

import pytest

from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.errors import InvalidOptions
from backends.host.filesystems import FileSystem
from backends.options import parse

GOOD = {"keyring": "/etc/ceph/kedge.keyring", "fs": "a"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client", "a b"),
        ("client", "--help"),
        ("pool", "../x"),
        ("fs", "a,b"),
        ("group", ""),
        ("monitors", "10.0.0.1 --x"),
        ("keyring", "/etc/my keys/k"),
        ("keyring", "relative"),
        ("timeout", "0.5"),
        ("timeout", "60"),
    ],
)
def test_settings_that_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidOptions, match=name if name != "keyring" else "key"):
        parse(CephSettings, {**GOOD, name: value}, subject="profile")


def test_a_profile_needs_a_cephfs_or_disks() -> None:
    with pytest.raises(InvalidOptions, match="layout=disk"):
        parse(CephSettings, {"keyring": "/k"}, subject="profile")
    disks = parse(CephSettings, {"keyring": "/k", "layout": "disk"}, subject="profile")
    assert CephOptions().settled(disks).layout is Layout.DISK
    assert CephOptions().settled(disks).fs is FileSystem.EXT4


def test_what_does_not_go_together() -> None:
    settings = parse(CephSettings, GOOD, subject="profile")

    def complaints(**options: str) -> list[str]:
        made = parse(CephOptions, options, subject="volume")
        return list(made.settled(settings).complaints(settings))

    assert complaints() == []
    assert complaints(size="1G", access="shared") == []
    assert complaints(layout="disk", size="1G", fs="xfs") == []
    assert len(complaints(layout="disk", access="shared")) == 2
    assert len(complaints(fs="xfs")) == 1
    assert len(complaints(layout="disk", size="10M")) == 1
