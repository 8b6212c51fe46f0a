"""Snapshots, clones and schedules of the service, on simulated nodes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.errors import (
    Claimed,
    Exists,
    InUse,
    InvalidName,
    InvalidOptions,
    NotFound,
    NotSupported,
    Unavailable,
)
from driver.schedule import Scheduler
from tests.simulated import Node

ID = "a" * 64
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.volumes.create("db", {"size": "1G"})
    return node


def write(node: Node, text: str, name: str = "db") -> None:
    """As a container would."""
    node.world.files[node.uuid_of(name)]["f"] = text.encode()


def read(node: Node, name: str = "db") -> str:
    return node.world.files[node.uuid_of(name)].get("f", b"").decode()


def names(node: Node, name: str = "db") -> list[str]:
    return [one.name for one in node.volumes.snapshots.list(name)]


def claims(node: Node) -> set[str | None]:
    """Who holds a claim now."""
    owner = node.volumes.owners["prod"]
    found = [owner.claims.holder(node.uuid_of(view.name)) for view in node.volumes.list()]
    return {holder.node for holder in found if holder is not None and holder.held}


def test_taken_and_gone_back_to_while_nobody_has_it(node: Node) -> None:
    write(node, "one")
    taken = node.volumes.snapshots.create("db", "before")
    assert (taken.name, taken.every, taken.created) == ("before", None, "2026-01-02T03:04:05Z")
    write(node, "two")
    node.volumes.snapshots.restore("db", "before")
    assert read(node) == "one"
    assert claims(node) == set()
    assert node.volumes.get("db").status["last_snapshot"] == "before"
    node.volumes.snapshots.remove("db", "before")
    assert names(node) == []
    assert "last_snapshot" not in node.volumes.get("db").status


def test_without_a_name_it_is_called_after_the_moment(node: Node) -> None:
    node.volumes.snapshots.create("db")
    assert names(node) == ["20260102-030405"]
    with pytest.raises(Exists):
        node.volumes.snapshots.create("db")


def test_names_of_the_schedule_are_not_for_people(node: Node) -> None:
    with pytest.raises(InvalidName):
        node.volumes.snapshots.create("db", "daily-20260203Z")
    with pytest.raises(InvalidName):
        node.volumes.snapshots.restore("db", "../x")


def test_taken_where_it_is_mounted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    backend = node.volumes.snapshots.backend("prod")
    create = backend.snapshot_create

    def spy(volume: Any, name: str, **facts: Any) -> Any:
        seen.append(facts)
        return create(volume, name, **facts)

    node.volumes.mount("db", ID)
    monkeypatch.setattr(backend, "snapshot_create", spy)
    node.volumes.snapshots.create("db", "one")
    promise = node.ledger.get("db")
    assert promise is not None
    assert seen[0]["attachment"].target == node.paths.mounts / "db"
    assert seen[0]["claim"] == promise.claim is not None
    assert claims(node) == {"here"}


def test_nobody_goes_back_under_a_container(node: Node) -> None:
    node.volumes.snapshots.create("db", "one")
    node.volumes.mount("db", ID)
    with pytest.raises(InUse, match="mounted a moment ago"):
        node.volumes.snapshots.restore("db", "one")
    stop = node.run("db")
    node.clock.sleep(60)
    with pytest.raises(InUse, match="mysqld"):
        node.volumes.snapshots.restore("db", "one")
    stop()
    node.volumes.unmount("db", ID)
    node.volumes.snapshots.restore("db", "one")


def test_another_node_has_it(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", name="there", beside=node)
    other.volumes.mount("db", ID)
    taking = node.volumes.snapshots
    taken = other.volumes.snapshots.create("db", "there")
    assert names(node) == [taken.name]
    for attempt in (
        lambda: taking.create("db", "one"),
        lambda: taking.restore("db", "there"),
        lambda: taking.remove("db", "there"),
    ):
        with pytest.raises(Claimed, match="there"):
            attempt()
    assert names(node) == ["there"]


def test_a_shared_volume_is_never_taken_back(node: Node) -> None:
    node.volumes.create("pics", {"access": "shared"})
    node.volumes.snapshots.create("pics", "one")
    with pytest.raises(NotSupported, match="shared"):
        node.volumes.snapshots.restore("pics", "one")


def test_a_volume_that_is_not_there(node: Node) -> None:
    for attempt in (node.volumes.snapshots.list, node.volumes.snapshots.create):
        with pytest.raises(NotFound):
            attempt("nobody")


# -- clones --------------------------------------------------------------------------------


def test_a_clone_of_a_snapshot_is_like_its_source(node: Node) -> None:
    write(node, "one")
    node.volumes.snapshots.create("db", "before")
    write(node, "two")
    node.volumes.create("copy", {"from": "db@before"})
    node.volumes.create("copy", {"from": "db@before"})
    assert read(node, "copy") == "one"
    status = node.volumes.get("copy").status
    assert (status["size"], status["from"]) == ("1G", "db@before")
    with pytest.raises(Exists, match="from is db@before"):
        node.volumes.create("copy", {"from": "db@other"})


def test_a_clone_of_what_a_volume_holds_now(node: Node) -> None:
    node.volumes.mount("db", ID)
    write(node, "one")
    node.volumes.create("copy", {"from": "db", "size": "2G"})
    assert read(node, "copy") == "one"
    assert names(node) == []
    node.volumes.create("copy", {"from": "db"})  # as Docker repeats it
    with pytest.raises(Exists, match="from is db@clone-"):
        node.volumes.create("copy", {"from": "other"})


def test_a_clone_has_no_schedule_that_it_was_not_given(node: Node) -> None:
    node.volumes.create("kept", {"snapshots": "hourly:1", "on_remove": "trash", "mode": "0700"})
    node.volumes.create("copy", {"from": "kept"})
    status = node.volumes.get("copy").status
    assert "snapshots" not in status
    assert (status["on_remove"], status["mode"]) == ("delete", "0700")


@pytest.mark.parametrize("source", ["nobody", "nobody@one", "db@", "../x"])
def test_a_clone_of_what_is_not_there(node: Node, source: str) -> None:
    with pytest.raises(InvalidOptions, match="from="):
        node.volumes.create("copy", {"from": source})
    with pytest.raises(NotFound):
        node.volumes.get("copy")


def test_a_clone_stays_in_its_profile(tmp_path: Path) -> None:
    node = Node(tmp_path, ["prod", "spare"])
    node.volumes.create("db", {"backend": "spare"})
    node.volumes.create("copy", {"from": "db"})
    assert node.volumes.get("copy").status["backend"] == "spare"
    with pytest.raises(InvalidOptions, match="not of prod"):
        node.volumes.create("third", {"from": "db", "backend": "prod"})


def test_a_clone_that_fails_leaves_nothing(node: Node) -> None:
    node.world.fail("create", Unavailable("away"))
    with pytest.raises(Unavailable):
        node.volumes.create("copy", {"from": "db"})
    node.world.heal()
    assert names(node) == []


# -- the schedule --------------------------------------------------------------------------


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`pass_time(node, hours)`: the scheduler's rounds for so long."""
    moment = NOW

    def pass_time(node: Node, hours: int) -> None:
        nonlocal moment
        monkeypatch.setattr(node.volumes, "moment", lambda: moment)
        scheduler = Scheduler(node.volumes)
        for _ in range(hours):
            scheduler.round()
            scheduler.round()
            moment += timedelta(hours=1)

    return pass_time


def test_the_schedule_keeps_what_it_says(node: Node, scheduled: Any) -> None:
    node.volumes.create("log", {"snapshots": "hourly:3,daily:1"})
    node.volumes.mount("log", ID)
    node.volumes.snapshots.create("log", "mine")
    scheduled(node, 30)
    assert sorted(names(node, "log")) == [
        "daily-20260204Z",
        "hourly-20260204T07Z",
        "hourly-20260204T08Z",
        "hourly-20260204T09Z",
        "mine",
    ]
    assert names(node) == []


def test_only_what_is_attached_here_is_taken(node: Node, scheduled: Any) -> None:
    node.volumes.create("log", {"snapshots": "hourly:3"})
    scheduled(node, 2)
    assert names(node, "log") == []


def test_one_that_fails_holds_up_no_other(
    node: Node, scheduled: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        node.volumes.create(name, {"snapshots": "hourly:3"})
        node.volumes.mount(name, ID)
    node.kernel.mounts.pop(node.paths.mounts / "a")
    scheduled(node, 1)
    assert (names(node, "a"), names(node, "b")) == ([], ["hourly-20260203T04Z"])
    assert "scheduled snapshots of volume a" in caplog.text
