"""The service on a simulated node: one test for each promise of its verbs."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backends.base import Volume
from backends.errors import (
    Busy,
    DeadlineExceeded,
    Exists,
    HostError,
    InUse,
    InvalidName,
    InvalidOptions,
    NoSpace,
    NotFound,
    Unavailable,
)
from backends.memory import SimulatedMount
from driver.attachments import JUST_MOUNTED
from driver.lifecycle import State
from tests.simulated import Node, joined

ID = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


# -- create --------------------------------------------------------------------------------


def test_create_makes_a_volume_that_is_found(node: Node) -> None:
    node.volumes.create("db", {"size": "1G"})
    assert node.volumes.get("db").status["size"] == "1G"
    assert [view.name for view in node.volumes.list()] == ["db"]
    assert node.ledger.promises() == {}


def test_create_again_with_what_it_has_is_nothing_to_do(node: Node) -> None:
    node.volumes.create("db", {"size": "1G"})
    before = node.uuid_of("db")
    node.volumes.create("db", {})
    node.volumes.create("db", {"size": "1024M", "backend": "prod"})
    assert node.uuid_of("db") == before


def test_create_with_other_options_names_every_difference(tmp_path: Path) -> None:
    node = Node(tmp_path, ["prod", "spare"])
    node.volumes.create("db", {"size": "1G", "mode": "0700"})
    with pytest.raises(Exists, match=r"size is 1G, not 2G.*mode is 0700, not 0755"):
        node.volumes.create("db", {"size": "2G", "mode": "0755"})
    with pytest.raises(Exists, match="backend is prod, not spare"):
        node.volumes.create("db", {"backend": "spare"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sice": "1G"}, "did you mean size"),
        ({"size": "big", "uid": "-1"}, r"size='big'.*uid='-1'"),
        ({"backend": "nowhere"}, "backend='nowhere' is not a profile; there are: prod"),
        ({"access": "shred"}, "single|shared"),
    ],
)
def test_create_refuses_wrong_options_and_leaves_nothing(
    node: Node, options: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidOptions, match=words):
        node.volumes.create("db", options)
    assert node.ledger.promises() == {}
    with pytest.raises(NotFound):
        node.volumes.get("db")


def test_defaults_of_the_profile_yield_to_the_user(tmp_path: Path) -> None:
    node = Node(tmp_path, defaults={"mode": "0700", "size": "2G"})
    node.volumes.create("db", {"size": "1G"})
    shown = node.volumes.get("db").status
    assert (shown["mode"], shown["size"]) == ("0700", "1G")


def test_a_create_that_fails_leaves_no_record(node: Node) -> None:
    node.world.capacity = 0
    with pytest.raises(NoSpace):
        node.volumes.create("db", {})
    assert node.ledger.promises() == {}


def test_create_does_not_believe_memory_about_a_volume_removed_elsewhere(node: Node) -> None:
    node.volumes.create("db", {})
    first = node.uuid_of("db")
    node.backends["prod"].remove(node.backends["prod"].get("db"))
    node.volumes.create("db", {})
    assert node.uuid_of("db") != first
    node.volumes.mount("db", ID)
    assert node.mounted("db")


def test_create_waits_for_an_earlier_volume_of_the_name_that_is_still_mounted(node: Node) -> None:
    """Another node removed it; here a container still has the old files."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    old = node.uuid_of("db")
    end = node.run("db")
    node.backends["prod"].remove(node.backends["prod"].get("db"))
    with pytest.raises(InUse, match=r"mysqld, pid 4000"):
        node.volumes.create("db", {})
    assert node.state("db") is State.ATTACHED
    end()
    node.clock.sleep(10)
    node.volumes.create("db", {})
    assert old not in {mount.uuid for mount in node.kernel.mounts.values()}
    node.volumes.mount("db", OTHER)
    assert node.mounted("db")
    assert node.holders("db") == {OTHER: 1}


def test_hostile_names_never_reach_a_backend(node: Node) -> None:
    reached: list[str] = []
    for verb in ("create", "get", "attach", "remove", "detach"):
        node.world.before[verb] = partial(reached.append, verb)
    for name in ["../x", "", "a/b", "x\0", "é", "a" * 129, ".hidden", "-", "a\n", "\udc80"]:
        for call in (
            lambda name=name: node.volumes.create(name, {}),
            lambda name=name: node.volumes.remove(name),
            lambda name=name: node.volumes.mount(name, ID),
            lambda name=name: node.volumes.unmount(name, ID),
            lambda name=name: node.volumes.get(name),
        ):
            with pytest.raises(InvalidName):
                call()
    assert reached == []


# -- mount and unmount ---------------------------------------------------------------------


def test_mount_attaches_once_and_counts_every_reference(node: Node) -> None:
    node.volumes.create("db", {})
    assert node.volumes.mount("db", ID) == node.paths.mounts / "db"
    node.volumes.mount("db", OTHER)
    node.volumes.mount("db", ID)  # docker cp on a running container
    assert node.holders("db") == {ID: 2, OTHER: 1}
    node.volumes.unmount("db", ID)
    node.volumes.unmount("db", OTHER)
    assert node.mounted("db")
    node.volumes.unmount("db", ID)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_mount_of_what_is_certainly_not_there(node: Node) -> None:
    with pytest.raises(NotFound):
        node.volumes.mount("db", ID)


def test_unmount_of_unknown_ids_and_volumes_is_no_error(node: Node) -> None:
    node.volumes.unmount("nothing", ID)
    node.volumes.create("db", {})
    node.volumes.unmount("db", ID)
    node.volumes.mount("db", ID)
    node.volumes.unmount("db", OTHER)
    assert node.holders("db") == {ID: 1}
    assert node.mounted("db")


def test_a_lost_mount_is_noticed_and_made_again(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.kernel.mounts.clear()
    node.volumes.mount("db", OTHER)
    assert node.mounted("db")
    assert node.holders("db") == {ID: 1, OTHER: 1}


def test_a_dead_mount_is_made_again(node: Node) -> None:
    node.volumes.create("db", {})
    target = node.volumes.mount("db", ID)
    node.kernel.mounts[target] = SimulatedMount(node.uuid_of("db"), healthy=False)
    node.volumes.mount("db", OTHER)
    assert node.mounted("db")


def test_mount_never_answers_a_path_where_another_volume_is(node: Node) -> None:
    node.volumes.create("db", {})
    target = node.volumes.mount("db", ID)
    node.kernel.mounts[target] = SimulatedMount("another")
    with pytest.raises(HostError):
        node.volumes.mount("db", OTHER)
    assert node.holders("db") == {ID: 1}


def test_mount_is_refused_when_the_kernel_does_not_show_it(node: Node) -> None:
    """A backend may believe it has attached; only the mount table counts."""
    node.volumes.create("db", {})
    lost = node.backends["prod"].attach

    def attach_and_lose(volume: Volume[Any], target: Path, **others: object) -> object:
        attachment = lost(volume, target, claim=None)
        node.kernel.mounts.clear()
        return attachment

    node.backends["prod"].attach = attach_and_lose  # type: ignore[assignment,method-assign]
    with pytest.raises(HostError, match=r"attached but is not mounted.*kedge doctor"):
        node.volumes.mount("db", ID)
    assert node.ledger.promises() == {}


def test_a_proof_that_cannot_be_had_leaves_no_mount_without_a_record(node: Node) -> None:
    node.volumes.create("db", {})
    node.world.fail("attachments", HostError("no /proc"))
    with pytest.raises(HostError, match="no /proc"):
        node.volumes.mount("db", ID)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_a_proof_that_fails_and_cannot_be_undone_leaves_the_intent(node: Node) -> None:
    node.volumes.create("db", {})
    node.world.fail("attachments", HostError("no /proc"))
    node.world.fail("detach", HostError("stuck"))
    with pytest.raises(HostError, match="no /proc"):
        node.volumes.mount("db", ID)
    assert node.state("db") is State.ATTACHING
    node.world.heal()
    node.rounds(10)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_a_mount_that_fails_while_held_keeps_the_references(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.kernel.mounts.clear()
    node.world.fail("attach", Unavailable("storage away"))
    with pytest.raises(Unavailable):
        node.volumes.mount("db", OTHER)
    assert node.holders("db") == {ID: 1}
    node.world.heal()
    node.round()
    assert node.mounted("db")


def test_unmount_leaves_a_volume_that_a_process_has_mounted(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    end = node.run("db")
    node.volumes.unmount("db", ID)
    assert node.mounted("db")
    assert node.holders("db") == {}
    end()
    node.rounds(10)
    assert node.kernel.mounts == {}


def test_unmount_after_a_crash_of_the_engine_drops_what_it_forgot(node: Node) -> None:
    """A killed engine mounts again under the same ID, and unmounts once."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.volumes.mount("db", ID)
    end = node.run("db")
    node.clock.sleep(JUST_MOUNTED)
    end()
    node.volumes.unmount("db", ID)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_unmount_right_after_a_mount_believes_in_the_container_to_come(node: Node) -> None:
    """`docker cp` on a container that starts: its own reference has no process yet."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.volumes.mount("db", ID)
    node.volumes.unmount("db", ID)
    assert node.holders("db") == {ID: 1}
    assert node.mounted("db")
    node.rounds(14)
    assert node.kernel.mounts == {}, "no process came: the engine had forgotten that reference"


def test_same_node_two_containers_share_one_mount(node: Node) -> None:
    """It is counted: the storage is let go of by the last one only, whoever that is."""
    node.volumes.create("db", {})
    path = node.volumes.mount("db", ID)
    before = dict(node.kernel.mounts)
    assert node.volumes.mount("db", OTHER) == path
    assert node.kernel.mounts == before
    assert node.holders("db") == {ID: 1, OTHER: 1}
    node.volumes.unmount("db", ID)
    assert node.mounted("db")
    node.volumes.unmount("db", OTHER)
    assert not node.mounted("db")
    assert not node.holders("db")


def test_unmount_of_a_copy_keeps_the_container_s_reference(node: Node) -> None:
    """`docker cp` mounts and unmounts under the running container's own ID."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.run("db")
    node.volumes.mount("db", ID)
    node.volumes.unmount("db", ID)
    assert node.holders("db") == {ID: 1}
    assert node.mounted("db")


def test_unmount_keeps_the_references_of_others_whose_process_has_not_come_yet(node: Node) -> None:
    node.volumes.create("db", {})
    for mount_id in (ID, ID, OTHER):
        node.volumes.mount("db", mount_id)
    node.volumes.unmount("db", ID)
    assert node.holders("db") == {ID: 1, OTHER: 1}
    assert node.mounted("db")


@pytest.mark.parametrize("verb", ["detach", "occupants"])
def test_unmount_drops_its_reference_though_the_storage_refuses(node: Node, verb: str) -> None:
    """Docker takes an error for "warn and never try again": the answer is yes, the rest is ours."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.world.fail(verb, HostError("target is busy"))
    node.volumes.unmount("db", ID)
    assert node.holders("db") == {}
    node.world.heal()
    node.rounds(10)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}


def test_unmount_drops_its_reference_while_a_mount_hangs(node: Node) -> None:
    """The hanging Mount has the volume's lock; no Unmount is ever repeated."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.kernel.mounts.clear()
    storage = node.world.block("get")
    with node.haste():
        with pytest.raises(DeadlineExceeded):
            node.volumes.mount("db", OTHER)
        node.volumes.unmount("db", ID)
    assert node.holders("db") == {}
    node.world.heal()
    storage.set()
    joined()
    assert node.holders("db") == {}
    node.rounds(10)
    assert node.kernel.mounts == {}


def test_unmount_drops_its_reference_before_the_service_is_ready(node: Node) -> None:
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    node.start(ready=False)
    with node.haste():
        node.volumes.unmount("db", ID)
    assert node.holders("db") == {}


def test_an_abandoned_mount_counts_no_reference(node: Node) -> None:
    node.volumes.create("db", {})
    storage = node.world.block("attach")
    with node.haste(1):
        with pytest.raises(DeadlineExceeded, match="mounting volume db takes too long"):
            node.volumes.mount("db", ID)
        with pytest.raises(Busy, match="volume db is busy: mounting since"):
            node.volumes.remove("db")
    node.world.heal()
    storage.set()
    joined()
    assert node.mounted("db")
    assert node.holders("db") == {}
    node.rounds(10)
    assert node.kernel.mounts == {}


def test_volumes_do_not_wait_for_each_other(node: Node) -> None:
    node.volumes.create("stuck", {})
    node.volumes.create("db", {})
    storage = node.world.block("attach")
    with node.haste(), pytest.raises(DeadlineExceeded):
        node.volumes.mount("stuck", ID)
    node.world.heal()
    node.volumes.mount("db", ID)
    storage.set()
    joined()


def test_mount_of_a_volume_that_was_replaced_elsewhere(node: Node) -> None:
    """Idle here under its old uuid: let go, and the new one is mounted."""
    node.volumes.create("db", {})
    node.volumes.mount("db", ID)
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    node.clock.sleep(10)
    other = Node.start(node)
    other.create("db", {})
    node.volumes.mount("db", OTHER)
    assert node.mounted("db")
    assert node.holders("db") == {OTHER: 1}
