"""What a node asks of a store where every request costs, while nothing happens."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.base import Attachment, Capabilities, Usage
from backends.memory import MemoryBackend
from backends.records.store import StoreRecords
from backends.stores.counting import Counting
from backends.stores.memory import MemoryStore
from bench.s3_cost import requests_per_month
from driver.lifecycle import State
from tests.simulated import Node

Started = Callable[[str], Node]


class Metered(MemoryBackend):
    """The reference, of a storage that charges for requests."""

    @property
    def capabilities(self) -> Capabilities:
        one = super().capabilities
        return Capabilities(one.everywhere, one.access, one.fencing, metered=True)

    def usage(self, attachment: Attachment) -> Usage:
        """The kernel knows it."""
        return Usage(0, 0)


@pytest.fixture
def store() -> Counting:
    return Counting(MemoryStore(), lambda: 0.0)


@pytest.fixture
def started(store: Counting, tmp_path: Path) -> Started:
    nodes: list[Node] = []

    def start(name: str) -> Node:
        first = nodes[0] if nodes else None
        node = Node(tmp_path / name, name=name, beside=first, backend=Metered)
        node.world.stored = StoreRecords(store, remember=True)
        nodes.append(node)
        return node

    return start


def _idle(store: Counting, minutes: int, *nodes: Node) -> Counter[str]:
    """Requests an hour while nobody asks for anything and the rounds come as they do."""
    for second in range(120):
        _second(second, *nodes)
    store.total.clear()
    for second in range(60 * minutes):
        _second(second, *nodes)
    return Counter({verb: count * 60 // minutes for verb, count in store.total.items()})


def _second(second: int, *nodes: Node) -> None:
    nodes[0].clock.sleep(1.0)
    for node in nodes:
        for guard in node.guards.values():
            guard.renew()
        if second % 2 == 0:
            for tender in node.tenders.values():
                tender.round()
        if second % 10 == 0:
            for watcher in node.watchers.values():
                watcher.round()


def used(node: Node, name: str) -> None:
    """Somebody has the volume mounted."""
    node.volumes.create(name, {})
    node.volumes.mount(name, f"id-{name}")
    node.run(name)


def test_a_node_with_one_volume_pays_for_its_lease_and_little_else(
    store: Counting, started: Started
) -> None:
    node = started("a")
    used(node, "db")
    asked = _idle(store, 10, node)
    assert asked["put"] <= 1800
    assert asked["list"] <= 90
    assert asked["get"] == asked["head"] == 0
    assert requests_per_month({"PUT": asked["put"], "LIST": asked["list"]}) < 7
    assert node.mounted("db")


def test_more_volumes_cost_nothing_more(store: Counting, started: Started) -> None:
    node = started("a")
    used(node, "db")
    one = _idle(store, 10, node)
    for number in range(20):
        used(node, f"v{number}")
    assert _idle(store, 10, node) == one


def test_what_was_taken_by_force_is_found_within_a_round_and_a_look(started: Started) -> None:
    a, b = started("a"), started("b")
    used(a, "db")
    for second in range(121):
        _second(second, a, b)
    b.volumes.takeover("db")
    for second in range(80):
        _second(second, a, b)
    promise = a.volumes.ledger.get("db")
    assert promise is None or promise.entry.state is State.FENCED


def test_a_node_without_a_volume_renews_nothing(store: Counting, started: Started) -> None:
    node = started("a")
    node.volumes.create("db", {})
    node.volumes.mount("db", "id")
    node.volumes.unmount("db", "id")
    asked = _idle(store, 10, node)
    assert asked["put"] == 0
    assert asked["list"] <= 90
    assert asked["get"] == 0
    node.volumes.mount("db", "id")
    assert node.mounted("db")


def test_another_nodes_lease_costs_reads_only(store: Counting, started: Started) -> None:
    a, b = started("a"), started("b")
    a.volumes.create("db", {})
    a.volumes.mount("db", "id")
    a.run("db")
    alone = _idle(store, 10, a)
    both = _idle(store, 10, a, b)
    assert both["put"] == alone["put"]
    assert both["list"] - alone["list"] <= 90
    assert both["get"] - alone["get"] <= 1900, "one for each time that it moves"


def test_a_lease_that_was_looked_at_in_the_background_is_not_waited_for_anew(
    started: Started,
) -> None:
    a, b = started("a"), started("b")
    a.volumes.create("db", {})
    a.volumes.mount("db", "id")
    for second in range(120):
        _second(second, a, b)
    for second in range(8):  # a is dead
        _second(second, b)
    before = b.clock()
    b.volumes.mount("db", "id-b")
    assert b.mounted("db")
    assert b.clock() - before < 0.1


def test_who_looks_sees_what_other_nodes_made_within_a_round(started: Started) -> None:
    a, b = started("a"), started("b")
    for second in range(120):
        _second(second, a, b)
    a.volumes.create("db", {})
    b.volumes.list()
    for second in range(11):
        _second(second, b)
    assert [view.name for view in b.volumes.list()] == ["db"]
