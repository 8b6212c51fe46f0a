"""The service on a simulated node: removing, looking up, and a ledger that cannot be written."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from backends.errors import (
    HostError,
    InUse,
    KedgeError,
    NoSpace,
    NotFound,
    Unavailable,
)
from driver import ledger_file
from driver.ledger import Promise
from driver.lifecycle import Entry, State
from tests.simulated import Node, joined

ID = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


# -- a ledger that cannot be written -------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and the ledger's disk is full."""

    def refuse(*_: object) -> None:
        raise NoSpace("the ledger cannot be written: its disk is full; make room")

    return lambda: monkeypatch.setattr(ledger_file.LedgerFile, "put", refuse)


def test_with_a_full_disk_mount_fails_with_a_sentence(node: Node, full: Callable[[], None]) -> None:
    node.volumes.create("db", {})
    full()
    with pytest.raises(NoSpace, match="its disk is full"):
        node.volumes.mount("db", ID)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_with_a_full_disk_a_second_mount_fails_too(node: Node, full: Callable[[], None]) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    full()
    with pytest.raises(NoSpace):
        node.volumes.mount("db", OTHER)
    assert node.holders("db") == {ID: 1}


def test_with_a_full_disk_unmount_lets_go(node: Node, full: Callable[[], None]) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    full()
    node.volumes.unmount("db", ID)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_with_a_full_disk_nothing_is_created_or_removed(
    node: Node, full: Callable[[], None]
) -> None:
    node.volumes.create("db", {})
    full()
    with pytest.raises(NoSpace):
        node.volumes.create("web", {})
    with pytest.raises(NoSpace):
        node.volumes.remove("db")
    assert [view.name for view in node.volumes.list()] == ["db"]
    assert node.uuid_of("db")


# -- remove --------------------------------------------------------------------------------


def test_remove_and_it_is_gone(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.remove("db")
    with pytest.raises(NotFound):
        node.volumes.get("db")
    with pytest.raises(NotFound):
        node.volumes.remove("db")
    assert node.volumes.list() == []


def test_delete_while_mounted_names_who_has_it(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.run("db", "3f2a91c07d5e" + "0" * 52)
    node.run("db", "")
    with pytest.raises(InUse, match=r"container 3f2a91c07d5e \(mysqld, pid 4000\), mysqld \(pid"):
        node.volumes.remove("db")
    assert node.mounted("db")
    assert node.holders("db") == {ID: 1}


def test_remove_right_after_mount_waits_for_the_container(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    with pytest.raises(InUse, match="mounted a moment ago"):
        node.volumes.remove("db")
    node.clock.sleep(6)
    node.volumes.remove("db")  # the reference is one that Docker forgot
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_a_removal_that_the_storage_did_not_begin_is_undone(node: Node) -> None:
    node.volumes.create("db", {})
    node.world.fail("remove", Unavailable("away"))
    with pytest.raises(Unavailable):
        node.volumes.remove("db")
    assert node.ledger.promises() == {}
    node.volumes.mount("db", ID)
    assert node.mounted("db")


def begun_removal(node: Node) -> None:
    """The storage has forgotten the volume but not deleted its data."""
    node.volumes.create("db", {})

    def stop(what: str) -> None:
        if what.startswith("delete ") and "/" not in what:
            raise Unavailable("away")

    node.world.effect = stop
    with pytest.raises(Unavailable):
        node.volumes.remove("db")
    assert node.state("db") is State.REMOVING
    node.world.effect = lambda _: None


def test_a_removal_that_was_begun_reads_as_gone_and_is_finished_by_the_keeper(node: Node) -> None:
    begun_removal(node)
    with pytest.raises(NotFound):
        node.volumes.get("db")
    assert node.world.files
    node.round()
    assert node.ledger.promises() == {}
    assert not node.world.files


def test_a_removal_that_was_begun_is_finished_by_the_next(node: Node) -> None:
    begun_removal(node)
    node.volumes.remove("db")
    assert node.ledger.promises() == {}
    assert not node.world.files


def test_a_removal_that_was_begun_does_not_hinder_a_new_volume(node: Node) -> None:
    begun_removal(node)
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    assert node.mounted("db")
    node.round()
    assert node.mounted("db")
    assert node.uuid_of("db")


def test_remove_takes_the_volume_that_is_there_now(node: Node) -> None:
    """Another node replaced it; the one of that name shall go."""
    node.volumes.create("db", {})
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    known = node.volumes.inventory.find("db")
    other = node.start()
    other.create("db", {})
    assert known is not None
    other.inventory.add("prod", known.volume)
    other.remove("db")
    with pytest.raises(NotFound):
        backend.get("db")


# -- get and list --------------------------------------------------------------------------


def test_get_and_list_never_ask_the_storage_about_what_is_known(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    for verb in ("get", "volumes", "attachments", "occupants", "usage"):
        node.world.fail(verb, Unavailable("away"))
    assert node.volumes.get("db").mountpoint == str(node.paths.mounts / "db")
    assert [view.name for view in node.volumes.list()] == ["db"]


def test_get_finds_what_another_node_has_just_made(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.inventory.discard("db")
    assert node.volumes.get("db").name == "db"


def test_not_found_only_when_every_backend_is_certain(tmp_path: Path) -> None:
    node = Node(tmp_path, ["prod", "spare"])
    with pytest.raises(NotFound):
        node.volumes.get("db")
    node.worlds["spare"].fail("get", Unavailable("away"))
    with pytest.raises(Unavailable, match=r"whether volume db exists is not known now \(spare"):
        node.volumes.get("db")
    node.worlds["spare"].fail("get", HostError("broken"))
    with pytest.raises(Unavailable):
        node.volumes.get("db")


def test_get_while_starting_is_never_not_found(node: Node) -> None:
    node.start(ready=False)
    with node.haste():
        with pytest.raises(Unavailable):
            node.volumes.get("db")
        with pytest.raises(Unavailable):
            node.volumes.list()


def test_a_volume_of_a_profile_that_was_taken_from_the_settings_is_not_not_found(
    node: Node,
) -> None:
    gone = Promise("db", "old-s3", "u", Entry(State.ATTACHED).hold(ID))
    node.ledger.change("db", lambda _: gone)
    for call in (
        lambda: node.volumes.get("db"),
        lambda: node.volumes.mount("db", ID),
        lambda: node.volumes.remove("db"),
        lambda: node.volumes.create("db", {}),
    ):
        with pytest.raises(Unavailable, match="belongs to profile old-s3, which is not in the"):
            call()
    node.volumes.unmount("db", ID)
    assert node.holders("db") == {}


def test_lookups_that_hang_do_not_collect_without_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.volumes, "_lookups", threading.BoundedSemaphore(2))
    storage = node.world.block("get")
    for number in range(5):
        with node.haste(0.1), pytest.raises(KedgeError):
            node.volumes.get(f"v{number}")
    hanging = [t for t in threading.enumerate() if t.name.startswith("looking for volume v")]
    for thread in hanging[2:]:
        thread.join(5)
    assert sum(thread.is_alive() for thread in hanging) == 2
    node.world.heal()
    storage.set()
    joined()
    with suppress(NotFound):
        node.volumes.get("v9")
