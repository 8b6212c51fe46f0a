"""Two simulated nodes and one volume: who may write it, and who stops in time."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Attachment
from backends.claims import Claim
from backends.errors import Claimed, Fenced, InUse, Invalid, Unavailable
from backends.memory import MemoryBackend
from driver.ledger import Promise
from driver.lifecycle import State
from tests.simulated import Node


class CutOff(MemoryBackend):
    """A backend whose nodes can only stop themselves."""

    def cut_off(self, attachment: Attachment) -> None:
        self.kernel.occupants.pop(attachment.uuid, None)


@pytest.fixture
def a(tmp_path: Path) -> Node:
    node = Node(tmp_path / "a", name="a", backend=CutOff)
    node.volumes.create("db", {})
    return node


@pytest.fixture
def b(tmp_path: Path, a: Node) -> Node:
    node = Node(tmp_path / "b", name="b", beside=a, backend=CutOff)
    node.round()
    return node


def pass_time(seconds: float, *nodes: Node) -> None:
    """Both nodes live; the alarm looks ten times a second."""
    for tenth in range(int(seconds * 10)):
        nodes[0].clock.sleep(0.1)
        for node in nodes:
            for guard in node.guards.values():
                guard.alarm()
            if tenth % 10 == 0:
                with suppress(Unavailable):
                    node.round()


def lives_on(a: Node, b: Node) -> None:
    """While a call of `b` waits for the claim, `a` goes on renewing its lease."""
    b.volumes.owners["prod"]._sleep = lambda seconds: pass_time(max(seconds, 0.1), a)


def cut_from_storage(node: Node) -> Callable[[], None]:
    """Every request of its lease and claims fails; call the result to heal."""
    lease, claims = node.volumes.owners["prod"].lease, node.volumes.owners["prod"].claims
    records = lease._records

    class Gone:
        def __getattr__(self, verb: str) -> Callable[..., object]:
            def fail(*args: object, **kwargs: object) -> object:
                raise Unavailable("the storage cannot be reached")

            return fail

    lease._records = claims._records = Gone()  # type: ignore[assignment]

    def heal() -> None:
        lease._records = claims._records = records

    return heal


def test_a_second_node_is_refused_with_the_name_of_the_first(a: Node, b: Node) -> None:
    lives_on(a, b)
    a.volumes.mount("db", "id-a")
    a.run("db")
    with pytest.raises(Claimed, match=r"in use by node a since .* lease last moved"):
        b.volumes.mount("db", "id-b")
    assert not b.mounted("db")
    assert b.ledger.get("db") is None


def test_a_volume_let_go_is_had_at_once(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.volumes.unmount("db", "id-a")
    before = b.clock()
    b.volumes.mount("db", "id-b")
    assert b.mounted("db")
    assert b.clock() - before < 0.1
    assert b.volumes.get("db").status["owner"] == "b"
    assert b.volumes.get("db").status["epoch"] == "2"


def test_a_planned_hand_over_is_waited_for(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    owner = b.volumes.owners["prod"]
    sleep = owner._sleep

    def stop_the_service_there(seconds: float) -> None:
        a.volumes.unmount("db", "id-a")
        sleep(seconds)

    owner._sleep = stop_the_service_there
    b.volumes.mount("db", "id-b")
    assert b.mounted("db")
    assert not a.mounted("db")


def test_a_lost_node_is_followed_within_the_ttl(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.round()
    pass_time(7.0, b)  # a is dead
    b.volumes.mount("db", "id-b")
    assert b.mounted("db")


def test_a_live_node_is_never_followed(a: Node, b: Node) -> None:
    lives_on(a, b)
    a.volumes.mount("db", "id-a")
    a.run("db")
    pass_time(60.0, a, b)
    with pytest.raises(Claimed):
        b.volumes.mount("db", "id-b")


def test_a_node_cut_off_stops_before_its_lease_can_end(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    pass_time(3.0, a, b)
    heal = cut_from_storage(a)
    stopped = taken = None
    start = a.clock()
    while taken is None:
        pass_time(0.1, a, b)
        if stopped is None and not a.kernel.occupants.get(a.uuid_of("db")):
            stopped = a.clock() - start
        with suppress(Claimed):
            b.volumes.owners["prod"].acquire(b.backends["prod"].get("db"), 0)
            taken = a.clock() - start
    assert stopped is not None
    assert stopped < taken < 20
    promise = a.ledger.get("db")
    assert promise is not None
    assert promise.entry.state in (State.FENCED, State.DETACHING)
    heal()
    pass_time(5.0, a, b)
    assert a.ledger.get("db") is None, "with its processes gone it comes to rest"
    lives_on(b, a)
    with pytest.raises(Claimed, match="node b"):
        a.volumes.mount("db", "id-a2")


def test_without_a_takeover_the_same_node_goes_on(a: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    heal = cut_from_storage(a)
    pass_time(10.0, a)
    assert not a.kernel.occupants.get(a.uuid_of("db"))
    heal()
    pass_time(5.0, a)
    a.volumes.mount("db", "id-a2")
    assert a.mounted("db")


def test_a_second_container_does_not_join_what_is_about_to_be_cut_off(a: Node) -> None:
    a.volumes.mount("db", "id-a")
    cut_from_storage(a)
    a.clock.sleep(6.0)
    with pytest.raises(Unavailable, match="cannot renew its lease"):
        a.volumes.mount("db", "id-a2")


def test_a_restart_of_the_service_keeps_its_claims(a: Node, b: Node) -> None:
    lives_on(a, b)
    a.volumes.mount("db", "id-a")
    a.run("db")
    a.start()
    pass_time(20.0, a, b)
    assert a.mounted("db")
    assert a.volumes.get("db").status["epoch"] == "1"
    with pytest.raises(Claimed):
        b.volumes.mount("db", "id-b")


def test_a_service_away_for_too_long_finds_itself_fenced(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    pass_time(7.0, b)
    b.volumes.mount("db", "id-b")
    a.start()
    assert not a.kernel.occupants.get(a.uuid_of("db"))
    pass_time(5.0, a, b)
    assert a.ledger.get("db") is None
    assert b.mounted("db")


def test_taken_by_force_the_old_node_stops(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    b.volumes.takeover("db")
    b.volumes.mount("db", "id-b")
    pass_time(5.0, a, b)
    assert not a.kernel.occupants.get(a.uuid_of("db"))
    assert not a.mounted("db")


def test_a_node_that_lost_its_ledger_keeps_what_it_has(a: Node, b: Node) -> None:
    """The claim stands in the storage only; without it the lease would run out unnoticed."""
    a.volumes.mount("db", "id-a")
    a.run("db")
    a.ledger.close()
    a.ledger._path.write_bytes(b"noise")
    a.start()
    pass_time(20.0, a, b)
    assert a.mounted("db")
    assert a.state("db") is State.ATTACHED
    lives_on(a, b)
    with pytest.raises(Claimed, match="node a"):
        b.volumes.mount("db", "id-b")
    with pytest.raises(Claimed, match="node a"):
        b.volumes.remove("db")


def test_a_node_that_lost_its_ledger_stops_when_another_took_over(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    a.ledger.close()
    a.ledger._path.write_bytes(b"noise")
    b.volumes.takeover("db")
    b.volumes.mount("db", "id-b")
    a.start()
    pass_time(5.0, a, b)
    assert not a.kernel.occupants.get(a.uuid_of("db"))
    assert not a.mounted("db")
    assert b.mounted("db")


def test_nothing_to_take_over(a: Node) -> None:
    a.volumes.create("shared", {"access": "shared"})
    with pytest.raises(Invalid, match="needs no takeover"):
        a.volumes.takeover("shared")
    a.volumes.mount("db", "id-a")
    with pytest.raises(Invalid, match="on this node"):
        a.volumes.takeover("db")


def test_a_volume_in_use_elsewhere_is_not_removed(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    with pytest.raises(InUse, match="node a"):
        b.volumes.remove("db")
    a.volumes.unmount("db", "id-a")
    b.volumes.remove("db")
    assert b.world.stored.keys("claims") == []


def test_shared_volumes_need_no_claim(a: Node, b: Node) -> None:
    a.volumes.create("both", {"access": "shared"})
    a.volumes.mount("both", "id-a")
    b.volumes.mount("both", "id-b")
    assert a.mounted("both")
    assert b.mounted("both")
    assert a.world.stored.keys("claims") == []


def test_epochs_go_on_after_the_trash(a: Node) -> None:
    a.volumes.create("old", {"on_remove": "trash"})
    uuid = a.uuid_of("old")
    a.volumes.mount("old", "id")
    a.volumes.unmount("old", "id")
    a.volumes.remove("old")
    backend = a.backends["prod"]
    assert isinstance(backend, MemoryBackend)
    backend.restore(uuid, "old")
    a.volumes.mount("old", "id")
    assert int(a.volumes.get("old").status["epoch"]) > 1


def test_a_claim_taken_anew_here_is_not_cut_off(a: Node) -> None:
    """The guard looked at the ledger, and then the volume was mounted again under a new claim."""
    a.volumes.mount("db", "id-a")
    before = a.ledger.get("db")
    a.volumes.unmount("db", "id-a")
    a.volumes.mount("db", "id-a2")
    a.run("db")
    assert before is not None
    a.guards["prod"]._fence(before, "the claim of before is lost")
    assert a.kernel.occupants[a.uuid_of("db")]
    assert a.state("db") is State.ATTACHED


def test_a_lease_lost_on_the_way_is_not_a_lost_claim(
    a: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody took the claim: it is resumed as soon as there is a lease again."""
    a.volumes.mount("db", "id-a")
    a.run("db")
    a.start()
    row = a.ledger.get("db")
    assert row is not None
    assert row.claim is not None
    a.ledger.amend(row, lambda row: replace(row, claim=replace(claim_of(row), session="before")))
    owner = a.volumes.owners["prod"]

    def lost(uuid: str, epoch: int, session: str) -> Claim:
        raise Fenced("the lease of node a was ended by node b")

    with monkeypatch.context() as patch:
        patch.setattr(owner, "resume", lost)
        a.guards["prod"].renew()
    assert a.state("db") is State.ATTACHED
    a.guards["prod"].renew()
    row = a.ledger.get("db")
    assert row is not None
    assert claim_of(row).session == owner.lease.session


def claim_of(row: Promise) -> Claim:
    assert row.claim is not None
    return row.claim


def test_a_lost_mount_is_not_made_again_after_another_node_wrote(a: Node, b: Node) -> None:
    """Its processes have files open from before the other node's turn."""
    a.volumes.mount("db", "id-a")
    a.run("db")
    pass_time(7.0, b)  # the service of a is dead
    b.volumes.mount("db", "id-b")
    b.volumes.unmount("db", "id-b")
    a.kernel.mounts.clear()
    a.start(ready=False)
    a.tenders["prod"].round()
    assert not a.mounted("db"), "under a claim of its own, though node b wrote meanwhile"
    a.round()
    a.volumes.ready.set()
    assert not a.kernel.occupants.get(a.uuid_of("db")), "stopped"
    pass_time(5.0, a, b)
    a.volumes.mount("db", "id-a2")
    assert a.volumes.get("db").status["epoch"] == "3"


def test_a_lost_mount_is_made_again_under_the_same_claim(a: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    a.kernel.mounts.clear()
    a.start()
    assert a.mounted("db")
    assert a.volumes.get("db").status["epoch"] == "1"


def test_fenced_and_nobody_took_it_the_next_container_has_it_at_once(a: Node, b: Node) -> None:
    """A service that was away for longer than its lease, and slow to come back."""
    a.volumes.mount("db", "id-a")
    a.run("db")
    heal = cut_from_storage(a)
    pass_time(10.0, a)
    assert a.state("db") in (State.FENCED, State.DETACHING, None)
    heal()
    pass_time(3.0, a)
    assert a.state("db") is None, "at rest again, by itself"
    before = a.clock()
    a.volumes.mount("db", "id-a2")
    assert a.clock() - before < 0.1
    assert a.state("db") is State.ATTACHED
    lives_on(a, b)
    with pytest.raises(Claimed, match="node a"):
        b.volumes.mount("db", "id-b")
