"""Recovery's table, row by row, and the keeper's rounds on a simulated node."""

import threading
from pathlib import Path
from types import MappingProxyType

import pytest

from backends.base import Attachment, Usage
from backends.errors import HostError, Unavailable
from backends.memory import MemoryBackend, SimulatedMount
from driver.complaints import Complaints
from driver.keeper import Keeper, Pace
from driver.ledger import Promise
from driver.lifecycle import HOLDABLE, Entry, State
from tests.simulated import Node, joined

ID = "a" * 64
OTHER = "b" * 64
HELD = MappingProxyType({ID: 2})


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.volumes.create("db", {})
    return node


def remembered(node: Node, state: State, name: str = "db") -> None:
    """As if the service had died with this row."""
    holders = HELD if state in HOLDABLE else MappingProxyType({})
    row = Promise(name, "prod", node.uuid_of(name), Entry(state, holders))
    node.ledger.note(name, lambda _: row)


def mounted(node: Node, uuid: str | None = None, *, healthy: bool = True) -> None:
    mount = SimulatedMount(uuid or node.uuid_of("db"), healthy=healthy)
    node.kernel.mounts[node.paths.mounts / "db"] = mount


MOUNTABLE = [State.ATTACHING, State.ATTACHED]


def test_creating_is_forgotten(node: Node) -> None:
    remembered(node, State.CREATING)
    node.start()
    assert node.ledger.promises() == {}
    assert node.uuid_of("db")


def test_a_removal_that_did_not_begin_is_undone(node: Node) -> None:
    remembered(node, State.REMOVING)
    node.start()
    assert node.ledger.promises() == {}
    assert node.volumes.get("db").name == "db"


def test_a_removal_that_began_is_finished(node: Node) -> None:
    remembered(node, State.REMOVING)
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    node.start()
    assert node.ledger.promises() == {}
    assert node.volumes.list() == []


def test_a_removal_is_left_for_later_when_the_storage_cannot_be_asked(node: Node) -> None:
    remembered(node, State.REMOVING)
    node.world.fail("get", Unavailable("away"))
    node.start()
    assert node.state("db") is State.REMOVING
    node.world.heal()
    node.round()
    assert node.ledger.promises() == {}


@pytest.mark.parametrize("before", MOUNTABLE)
def test_what_is_mounted_is_attached_with_its_holders(node: Node, before: State) -> None:
    remembered(node, before)
    mounted(node)
    node.start()
    assert node.state("db") is State.ATTACHED
    assert node.holders("db") == {ID: 2}
    node.volumes.unmount("db", ID)
    node.volumes.unmount("db", ID)
    assert node.kernel.mounts == {}


def test_a_detach_that_was_cut_off_is_finished(node: Node) -> None:
    remembered(node, State.DETACHING)
    mounted(node)
    node.start()
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_a_detach_waits_for_the_last_process(node: Node) -> None:
    remembered(node, State.DETACHING)
    mounted(node)
    end = node.run("db")
    node.start()
    assert node.mounted("db")
    end()
    node.round()
    assert node.kernel.mounts == {}


@pytest.mark.parametrize("before", MOUNTABLE)
@pytest.mark.parametrize("lost", ["no mount", "dead mount"])
def test_containers_that_outlived_the_mount_get_it_again(
    node: Node, before: State, lost: str
) -> None:
    remembered(node, before)
    if lost == "dead mount":
        mounted(node, healthy=False)
    node.run("db")
    node.start()
    assert node.mounted("db")
    assert node.state("db") is State.ATTACHED
    assert node.holders("db") == {ID: 2}


@pytest.mark.parametrize("before", [*MOUNTABLE, State.DETACHING])
def test_after_a_reboot_everything_is_at_rest(node: Node, before: State) -> None:
    remembered(node, before)
    node.reboot()
    assert node.ledger.promises() == {}
    node.volumes.mount("db", OTHER)
    assert node.holders("db") == {OTHER: 1}


def test_a_mount_without_a_row_is_adopted_and_let_go(node: Node) -> None:
    mounted(node)
    node.start()
    assert node.state("db") is State.ATTACHED
    assert node.holders("db") == {}
    node.rounds(10)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_an_adopted_mount_stays_while_a_process_has_it(node: Node) -> None:
    mounted(node)
    end = node.run("db")
    node.start()
    node.rounds(400)
    assert node.mounted("db")
    end()
    node.rounds(10)
    assert node.kernel.mounts == {}


def test_what_recovery_has_just_detached_is_not_adopted(node: Node) -> None:
    """The kernel was asked before; its answer is old by then."""
    remembered(node, State.DETACHING)
    mounted(node)
    node.start()
    assert node.ledger.promises() == {}


def test_a_volume_that_was_replaced_elsewhere_is_not_taken_for_the_old(node: Node) -> None:
    remembered(node, State.ATTACHED)
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    node.start(ready=True).create("db", {})
    node.volumes.mount("db", OTHER)
    assert node.mounted("db")
    assert node.holders("db") == {OTHER: 1}


# -- one volume never holds up the others --------------------------------------------------


def test_one_lost_volume_does_not_keep_the_others_from_recovering(node: Node) -> None:
    """A container still has a volume that is gone from the storage: nothing to mount again."""
    node.volumes.create("web", {})
    remembered(node, State.ATTACHED)
    node.run("db")
    remembered(node, State.ATTACHED, "web")
    node.run("web")
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    node.start()
    assert node.mounted("web")
    assert [view.name for view in node.volumes.list()] == ["web"]


def test_one_volume_that_hangs_does_not_keep_the_others_from_recovering(tmp_path: Path) -> None:
    node = Node(tmp_path, each=0.3)
    for name in ("db", "web"):
        node.volumes.create(name, {})
        remembered(node, State.ATTACHED, name)
        node.run(name)
    hang, first = threading.Event(), threading.Event()

    def hang_once() -> None:
        if not first.is_set():
            first.set()
            hang.wait(10)

    node.world.before["attach"] = hang_once
    node.start()
    assert node.mounted("web")
    assert not node.mounted("db")
    assert {view.name for view in node.volumes.list()} == {"db", "web"}
    hang.set()
    joined()
    node.round()
    assert node.mounted("db")


def test_a_detach_that_fails_does_not_keep_the_others_attached(node: Node) -> None:
    node.volumes.create("aaa", {})
    for name in ("aaa", "db"):
        node.volumes.mount(name, ID)
        node.world.fail("detach", HostError("busy"))
        node.volumes.unmount(name, ID)

    def only_db() -> None:
        raise_for = node.ledger.get("aaa")
        if raise_for and raise_for.entry.state is State.DETACHING and not tried:
            tried.append(1)
            raise HostError("busy")

    tried: list[int] = []
    node.world.before["detach"] = only_db
    node.round()
    assert tried
    assert not node.mounted("db")


def test_a_request_that_works_during_recovery_is_not_undone(node: Node) -> None:
    """After `first_try` Docker is answered although recovery still runs: its news are old."""
    remembered(node, State.ATTACHED)
    node.start(ready=False)
    node.volumes.ready.set()
    real = node.backends["prod"].attachments
    asked: list[int] = []

    def attachments() -> object:
        answer = real()
        if not asked:
            asked.append(1)
            node.volumes.mount("db", OTHER)
        return answer

    node.backends["prod"].attachments = attachments  # type: ignore[assignment,method-assign]
    node.round()
    assert asked
    assert node.mounted("db")
    assert node.holders("db") == {ID: 2, OTHER: 1}


# -- the keeper ----------------------------------------------------------------------------


def test_a_forgotten_reference_is_dropped_after_its_process(node: Node) -> None:
    """The engine was killed: the container is gone, no Unmount was ever sent."""
    node.volumes.mount("db", ID)
    end = node.run("db")
    node.rounds(4)
    end()
    node.rounds(6)
    assert node.mounted("db")
    node.rounds(10)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_a_reference_whose_process_never_came_is_dropped_late(node: Node) -> None:
    node.volumes.mount("db", ID)
    node.rounds(290)
    assert node.mounted("db")
    node.rounds(20)
    assert node.kernel.mounts == {}


def test_a_lost_mount_is_made_again_for_its_holders(node: Node) -> None:
    node.volumes.mount("db", ID)
    node.kernel.mounts.clear()
    node.round()
    assert node.mounted("db")
    assert node.holders("db") == {ID: 1}


def test_usage_is_shown_and_forgotten_with_the_mount(node: Node) -> None:
    node.volumes.mount("db", ID)
    node.world.files[node.uuid_of("db")]["x"] = b"12345"
    node.round()
    assert node.volumes.get("db").status["used"] == "5"
    node.volumes.unmount("db", ID)
    assert "used" not in node.volumes.get("db").status


def test_a_volume_that_cannot_be_measured_keeps_no_other_from_being(tmp_path: Path) -> None:
    class OneSilent(MemoryBackend):
        def usage(self, attachment: Attachment) -> Usage:
            if attachment.name == "db":
                raise Unavailable("db does not say")
            return super().usage(attachment)

    node = Node(tmp_path, backend=OneSilent)
    for name in ("db", "web"):
        node.volumes.create(name, {})
        node.volumes.mount(name, ID)
    node.world.files[node.uuid_of("web")]["x"] = b"12345"
    with pytest.raises(Unavailable, match="db does not say"):
        node.round()
    assert node.volumes.get("web").status["used"] == "5"
    assert "used" not in node.volumes.get("db").status


def test_volumes_of_other_nodes_appear_and_vanish(node: Node) -> None:
    backend = node.backends["prod"]
    other = Node.start(node, ready=False)
    other.ready.set()
    other.create("web", {})
    node.round()
    assert {view.name for view in node.volumes.list()} == {"db", "web"}
    backend.remove(backend.get("web"))
    node.round()
    assert {view.name for view in node.volumes.list()} == {"db"}


def test_docker_is_answered_once_every_profile_was_tried(node: Node) -> None:
    node.start(ready=False)
    keeper = Keeper(node.volumes, Pace(tend=0.01, watch=0.01, first_try=60), node.clock)
    keeper.start()
    assert node.volumes.ready.wait(10)
    keeper.stop()


def test_a_profile_that_hangs_holds_docker_back_for_a_while_only(tmp_path: Path) -> None:
    node = Node(tmp_path, ["prod", "spare"])
    node.volumes.create("db", {})
    node.start(ready=False)
    storage = node.worlds["spare"].block("volumes")
    keeper = Keeper(node.volumes, Pace(tend=0.01, watch=0.01, first_try=0.2), node.clock)
    keeper.start()
    assert node.volumes.ready.wait(10)
    assert [view.name for view in node.volumes.list()] == ["db"]
    keeper.stop()
    storage.set()


def test_a_lasting_trouble_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    caplog.set_level("INFO")
    complaints = Complaints(logging.getLogger("test"))
    for reason in ["away", "away", "still away", "away"]:
        complaints.trouble("profile prod", reason)
    complaints.well("profile prod")
    complaints.well("profile prod")
    complaints.trouble("profile prod", "away")
    assert [record.getMessage() for record in caplog.records] == [
        "profile prod: away",
        "profile prod: still away",
        "profile prod: away",
        "profile prod is well again",
        "profile prod: away",
    ]
