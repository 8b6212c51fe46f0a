"""Deleting trees that somebody else filled."""

import os
from pathlib import Path

import pytest

from backends.errors import InUse
from backends.host import mountinfo, trees


def test_everything_below_goes(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(30):
        directory = top / f"a{number}" / "b" / "c"
        directory.mkdir(parents=True)
        (directory / "file").write_text("x")
    os.mkfifo(top / "fifo")
    (top / "odd\nname \\040").mkdir()
    trees.delete(top)
    assert list(tmp_path.iterdir()) == []


def test_absent_is_fine(tmp_path: Path) -> None:
    trees.delete(tmp_path / "absent")


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "link").symlink_to(outside)
    (top / "sub" / "link").symlink_to(outside)
    (top / "sub" / "file").symlink_to(outside / "precious")
    os.link(outside / "precious", top / "hard")
    trees.delete(top)
    assert (outside / "precious").read_text() == "x"


def test_a_link_in_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "precious").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError):
        trees.delete(tmp_path / "link")
    assert (tmp_path / "real" / "precious").exists()


def test_depth_is_not_limited(tmp_path: Path) -> None:
    """Deeper than Python recurses and than a path may be long."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    trees.delete(top)
    assert not top.exists()


def test_names_of_an_interrupted_deletion_are_no_obstacle(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(3):
        (top / f".moved-{number}" / "x" / "y").mkdir(parents=True)
        (top / "z" / str(number) / "y").mkdir(parents=True)
    (top / ".moved-3").write_text("a file")
    trees.delete(top)
    assert not top.exists()


def test_many_files_in_one_directory(tmp_path: Path) -> None:
    top = tmp_path / "top" / "sub"
    top.mkdir(parents=True)
    for number in range(1100):
        (top / str(number)).touch()
    trees.delete(tmp_path / "top")
    assert not (tmp_path / "top").exists()


def test_a_mount_below_is_seen_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "top" / "mnt").mkdir(parents=True)
    (tmp_path / "top" / "file").touch()
    line = f"1 0 0:1 / {tmp_path}/top/mnt rw - tmpfs x rw\n".encode()
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(line))
    with pytest.raises(InUse, match="top/mnt"):
        trees.delete(tmp_path / "top")
    assert (tmp_path / "top" / "file").exists()
