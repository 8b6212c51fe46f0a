"""Removed data: out of reach at once, deleted for certain, and nothing else with them."""

import os
from pathlib import Path

import pytest

from backends.errors import InUse, NotFound
from backends.host import mounts
from backends.tree import removal
from tests.local.conftest import World

pytestmark = pytest.mark.lab


def test_space_comes_back(world: World) -> None:
    volume = world.made()
    attachment = world.attached(volume)
    (attachment.target / "f").write_bytes(b"x" * 2**20)
    world.detach(attachment)
    world.remove(volume)
    assert world.reaper.wait(30)
    assert list(world.store.volumes.iterdir()) == []


def test_an_answer_does_not_wait_for_many_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_REAP_SECONDS", 0)
    volume = world.made()
    data = world.store.data(volume.uuid) / "data"
    for number in range(3000):
        (data / str(number)).touch()
    world.remove(volume)
    with pytest.raises(NotFound):
        world.get("db")
    assert not world.store.data(volume.uuid).exists()
    assert world.reaper.wait(30)
    assert list(world.store.volumes.iterdir()) == []


def test_what_a_dead_process_did_not_delete_is_deleted_by_the_next(world: World) -> None:
    world.made()
    left = world.store.volumes / ".removing-0000"
    (left / "data").mkdir(parents=True)
    (left / "data" / "f").write_text("x")
    fresh = World(world.settings, world.context)
    fresh.volumes()
    assert fresh.reaper.wait(30)
    assert not left.exists()


def test_a_mount_inside_a_volume_is_not_deleted(world: World, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "f").write_text("x")
    volume = world.made()
    inside = world.store.data(volume.uuid) / "data" / "mnt"
    inside.mkdir()
    mounts.bind(tmp_path / "precious", inside)
    try:
        with pytest.raises(InUse, match="mnt is a mount"):
            world.remove(volume)
        assert (tmp_path / "precious" / "f").read_text() == "x"
    finally:
        mounts.unmount(inside)
    with pytest.raises(NotFound):
        world.get("db")  # its removal has begun ...
    world.remove(volume)  # ... and is finished
    assert world.reaper.wait(30)
    assert list(world.store.volumes.iterdir()) == []


def test_what_is_mounted_after_the_look_is_not_deleted_either(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is the last to refuse."""
    from backends.host import trees

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "f").write_text("x")
    inside = tmp_path / "top" / "a" / "mnt"
    inside.mkdir(parents=True)
    mounts.bind(tmp_path / "precious", inside)
    monkeypatch.setattr(trees, "refuse_mounts_below", lambda path: None)
    try:
        with pytest.raises(OSError, match="busy"):
            trees.delete(tmp_path / "top")
        assert (tmp_path / "precious" / "f").read_text() == "x"
    finally:
        mounts.unmount(tmp_path / "top" / "a" / "mnt")


def test_an_attached_volume_is_not_removed(world: World) -> None:
    volume = world.made()
    attachment = world.attached(volume)
    (attachment.target / "f").write_text("x")
    with pytest.raises(InUse):
        world.remove(volume)
    assert (attachment.target / "f").read_text() == "x"
    world.detach(attachment)
    world.remove(volume)


def test_links_in_a_volume_lead_nowhere(world: World, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    volume = world.made()
    data = world.store.data(volume.uuid) / "data"
    (data / "link").symlink_to(tmp_path)
    (data / "sub").mkdir()
    (data / "sub" / "link").symlink_to(tmp_path / "precious")
    world.remove(volume)
    assert world.reaper.wait(30)
    assert (tmp_path / "precious").read_text() == "x"


def test_where_kept_data_are_is_told(world: World) -> None:
    removed = world.remove(world.made(on_remove="keep"))
    assert os.path.isdir(removed.where)
