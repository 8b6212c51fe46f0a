"""What people are told about who has a volume: in a refusal, in Status, by `kedge takeover`."""

import re
from pathlib import Path

import pytest

from backends.errors import Claimed
from driver.lifecycle import State
from tests.simulated import Node
from tests.unit.test_guard import CutOff, lives_on, pass_time

UNTIL = {"owner", "epoch", "lease_age", "fencing"}


@pytest.fixture
def a(tmp_path: Path) -> Node:
    node = Node(tmp_path / "a", name="a", backend=CutOff)
    node.volumes.create("db", {})
    node.volumes.create("other", {})
    return node


@pytest.fixture
def b(tmp_path: Path, a: Node) -> Node:
    node = Node(tmp_path / "b", name="b", beside=a, backend=CutOff)
    node.round()
    return node


def status(node: Node, name: str = "db") -> dict[str, str]:
    return dict(node.volumes.get(name).status)


def test_the_refusal_says_who_since_when_how_alive_and_what_to_do(a: Node, b: Node) -> None:
    lives_on(a, b)
    a.volumes.mount("db", "id-a")
    with pytest.raises(Claimed) as refused:
        b.volumes.mount("db", "id-b")
    said = refused.value.message
    assert re.fullmatch(
        r"volume db is in use by node a since 2026-01-02T03:04:05Z \(epoch 1\); its lease last "
        r"moved \d\.\d s ago; stop the service there, or, if that node is dead, wait \d s or run "
        r"`kedge takeover db`",
        said,
    ), said


def test_a_volume_that_nobody_ever_had(a: Node) -> None:
    assert UNTIL & status(a).keys() == {"fencing"}


def test_both_nodes_show_the_owner(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    pass_time(3.0, a, b)
    for node in (a, b):
        shown = status(node)
        assert (shown["owner"], shown["epoch"]) == ("a", "1")
        assert 0 <= float(shown["lease_age"].removesuffix("s")) <= 3.0
        assert shown["fencing"] in ("store", "node", "advisory")
    pass_time(4.0, b)  # a is dead
    assert float(status(b)["lease_age"].removesuffix("s")) >= 4.0


def test_what_is_released_has_an_epoch_and_no_owner(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.volumes.unmount("db", "id-a")
    pass_time(1.0, a, b)
    shown = status(b)
    assert (shown["owner"], shown["epoch"]) == ("", "1")
    assert "lease_age" not in shown


def test_the_new_owner_shows_at_once_with_its_own_lease(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    pass_time(1.0, a, b)
    pass_time(7.0, b)  # a is dead
    b.volumes.mount("db", "id-b")
    shown = status(b)
    assert (shown["owner"], shown["epoch"]) == ("b", "2")
    assert "lease_age" not in shown or float(shown["lease_age"].removesuffix("s")) < 3.0


def test_a_fenced_volume_shows_who_has_it_now(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.run("db")
    b.volumes.takeover("db")
    b.volumes.mount("db", "id-b")
    a.guards["prod"].renew()
    pass_time(2.0, b)
    a.guards["prod"].renew()
    assert a.state("db") is State.FENCED
    a.watchers["prod"].round()
    shown = status(a)
    assert (shown["state"], shown["owner"], shown["epoch"]) == ("fenced", "b", "3")


def test_takeover_frees_it_at_once_and_raises_the_epoch(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.round()
    before = b.clock()
    b.volumes.takeover("db")
    b.volumes.mount("db", "id-b")
    assert b.clock() - before < 0.1, "no lease was waited for"
    assert status(b)["epoch"] == "3"


def test_one_claim_that_cannot_be_read_harms_no_other(a: Node, b: Node) -> None:
    a.volumes.mount("db", "id-a")
    a.volumes.mount("other", "id-a")
    a.run("db")
    a.run("other")
    store, key = a.world.stored, f"claims/{a.uuid_of('db')}"
    record = store.get(key)
    assert record is not None
    store.put(key, b"noise", expected=record.version)
    a.start()
    pass_time(20.0, a, b)
    assert status(b, "other")["owner"] == "a"
    assert a.state("other") is State.ATTACHED
    assert a.kernel.occupants.get(a.uuid_of("other"))
    assert "owner" not in status(b, "db")
