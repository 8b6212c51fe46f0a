"""Paths of one mount namespace as another has them."""

import os
from pathlib import Path

import pytest

from backends.host import mountinfo
from backends.host.outside import Outside, path_of, same

ENGINE = mountinfo.parse(
    b"""\
20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 0:5 / /run rw shared:2 - tmpfs tmpfs rw
22 20 8:2 / /var/lib/docker rw shared:3 - ext4 /dev/sda2 rw
23 20 8:3 /sub /mnt/part rw shared:4 - ext4 /dev/sda3 rw
24 22 0:9 / /var/lib/docker/plugins/hidden rw - tmpfs tmpfs rw
"""
)


def shown(device: str, root: str) -> mountinfo.Mount:
    return mountinfo.parse_line(f"90 80 {device} {root} /mnt/kedge rw - ext4 /dev/x rw".encode())


@pytest.mark.parametrize(
    ("device", "root", "path"),
    [
        ("8:1", "/var/x/propagated-mount", "/var/x/propagated-mount"),
        ("8:2", "/plugins/7/propagated-mount", "/var/lib/docker/plugins/7/propagated-mount"),
        ("8:3", "/sub/plugins", "/mnt/part/plugins"),
        ("8:3", "/sub", "/mnt/part"),
        ("8:3", "/subway/plugins", None),  # a name that only begins alike
        ("8:2", "/plugins/hidden/propagated-mount", None),  # something else is mounted there
        ("8:1", "/run/plugins", None),
        ("9:9", "/plugins", None),
    ],
)
def test_path_of_a_directory_in_another_namespace(device: str, root: str, path: str | None) -> None:
    assert path_of(shown(device, root), ENGINE) == path


def test_the_same_directory_under_other_names() -> None:
    assert same(shown("8:1", "/a"), mountinfo.parse_line(b"1 1 8:1 /a /b rw - ext4 /dev/y rw"))
    assert not same(shown("8:1", "/a"), shown("8:1", "/b"))
    assert not same(shown("8:1", "/a"), shown("8:2", "/a"))


@pytest.mark.parametrize("pid", [0, 2**22 + 1, None])
def test_nothing_is_said_about_what_is_not_known(tmp_path: Path, pid: int | None) -> None:
    """No process, a process that is gone, a target where nothing is mounted."""
    Outside(tmp_path).must_see(tmp_path / "volume", os.getpid() if pid is None else pid)
