"""Snapshots, clones and schedules of the service, on simulated nodes."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.base import Trashed
from backends.errors import (
    Claimed,
    Exists,
    InUse,
    Invalid,
    InvalidName,
    InvalidOptions,
    NotFound,
    NotSupported,
    Unavailable,
)
from backends.memory import MemoryBackend
from backends.progress import heard_by
from driver.parts import Parts
from driver.schedule import Scheduler
from tests.simulated import Node
from tests.wire.service import until

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


def test_how_far_copies_are_is_told(node: Node) -> None:
    """A clone of what a volume holds now is two copies: one bar, not two."""
    told: list[tuple[int, int]] = []
    with heard_by(lambda done, total: told.append((done, total))):
        node.volumes.snapshots.create("db", "one")
        node.volumes.snapshots.restore("db", "one")
        node.volumes.clone("copy", "db@one")
        assert told == [(1, 1)] * 3
        node.volumes.clone("other", "db")
    assert told[3:] == [(1, 2), (2, 2)]


def test_a_clone_for_the_operator_has_no_time_limit(node: Node) -> None:
    going_on = node.world.block("create")
    cloning = threading.Thread(target=node.volumes.clone, args=("copy", "db"))
    with node.haste(0.05):
        cloning.start()
        cloning.join(0.3)
        assert cloning.is_alive()
        going_on.set()
        cloning.join(10)
    assert node.volumes.get("copy").status["size"] == "1G"


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
    node.world.fail("create", Invalid("no"))
    with pytest.raises(Invalid):
        node.volumes.create("copy", {"from": "db"})
    node.world.heal()
    assert names(node) == []
    assert left(node) == []


def test_storage_that_was_away_is_tidied_when_it_is_back(node: Node) -> None:
    node.world.fail("create", Unavailable("away"))
    with pytest.raises(Unavailable):
        node.volumes.create("copy", {"from": "db"})
    node.world.fail("abandon", Unavailable("away"))
    Scheduler(node.volumes).round()
    assert len(left(node)) == 1
    node.world.heal()
    Scheduler(node.volumes).round()
    assert (names(node), left(node)) == ([], [])
    with pytest.raises(NotFound):
        node.volumes.get("copy")


@pytest.mark.parametrize("fate", ["trash", "keep", "delete"])
def test_a_note_that_outlived_its_clone_brings_it_back_never(node: Node, fate: str) -> None:
    node.world.fail("snapshot_remove", Unavailable("away"))
    node.volumes.create("copy", {"from": "db", "on_remove": fate})
    assert len(left(node)) == 1
    node.volumes.remove("copy")
    files, trashed = dict(node.world.files), trash(node)
    node.world.heal()
    Scheduler(node.volumes).round()
    node.round()
    assert (names(node), left(node)) == ([], [])
    assert [view.name for view in node.volumes.list()] == ["db"]
    assert (node.world.files, trash(node)) == (files, trashed)


def trash(node: Node) -> Sequence[Trashed]:
    """Of the one profile."""
    (backend,) = node.backends.values()
    assert isinstance(backend, MemoryBackend)
    return backend.trashed()


class Death(BaseException):
    """The process is gone: nothing may catch it and go on."""


def left(node: Node) -> list[Path]:
    """Notes of clones."""
    return list((node.paths.state / "clones").glob("*"))


def cut_off(node: Node, after: int) -> bool:
    """A clone whose service dies after so many changes of the storage, and is started again;
    False: it came to its end before."""
    changes = 0

    def dies(what: str) -> None:
        nonlocal changes
        changes += 1
        if changes > after:
            raise Death

    node.world.effect = dies
    try:
        node.volumes.create("copy", {"from": "db"})
    except Death:
        return True
    finally:
        node.world.effect = lambda what: None
        node.start()
    return False


def test_a_clone_that_is_cut_off_leaves_no_snapshot(node: Node) -> None:
    after = 0
    write(node, "one")
    while cut_off(node, after):
        Scheduler(node.volumes).round()
        node.round()
        assert (names(node), left(node)) == ([], []), after
        if "copy" in [view.name for view in node.volumes.list()]:
            assert read(node, "copy") == "one"
            node.volumes.remove("copy")
        assert len(node.world.files) == 1, after
        after += 1
    assert after > 5


def test_a_clone_that_was_cut_off_can_be_repeated_at_once(node: Node) -> None:
    after = 0
    while cut_off(node, after):
        node.volumes.create("copy", {"from": "db"})
        assert (names(node), left(node)) == ([], []), after
        node.volumes.remove("copy")
        after += 1
    assert after > 5


def test_what_a_clone_at_work_needs_is_left_alone(node: Node) -> None:
    going_on = node.world.block("create")
    cloning = threading.Thread(target=node.volumes.create, args=("copy", {"from": "db"}))
    cloning.start()
    until(lambda: bool(names(node)))
    Scheduler(node.volumes).round()
    assert len(names(node)) == 1
    going_on.set()
    cloning.join(10)
    assert names(node) == []
    assert node.volumes.get("copy").status["from"].startswith("db@clone-")


def test_a_note_that_cannot_be_read_holds_up_nothing(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    clones = node.paths.state / "clones"
    clones.mkdir(parents=True)
    (clones / "x.json").write_text("{}")
    Scheduler(node.volumes).round()
    assert "cannot be read" in caplog.text
    node.volumes.create("copy", {"from": "db"})


# -- the schedule --------------------------------------------------------------------------


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`pass_time(node, hours)`: the scheduler's rounds for so long."""
    moment = NOW

    def pass_time(node: Node, hours: int) -> None:
        nonlocal moment
        monkeypatch.setattr(Parts, "moment", lambda self: moment)
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
