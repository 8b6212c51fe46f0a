"""The service itself as a client: whom it writes down, whom it buries, who counts."""

from pathlib import Path
from typing import Any, cast

import pytest

from backends.ceph.cluster import Cluster
from backends.ceph.images import Work
from backends.ceph.layout import Place
from backends.ceph.options import CephSettings
from backends.ceph.sessions import Session, Sessions
from backends.ceph.working import Workers, image_of
from backends.errors import Fenced
from backends.records.memory import MemoryRecords

MINE, EARLIER = "10.0.0.1:0/2", "10.0.0.1:0/1"
CLIENT = Session("n1", "10.0.0.1:0/9", "", 3)


class FakeCluster:
    def __init__(self) -> None:
        self.blocklisted: list[str] = []

    def address(self) -> str:
        return MINE

    def mon(self, prefix: str, **arguments: Any) -> None:
        assert prefix == "osd blocklist"
        self.blocklisted.append(arguments["addr"])


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(MemoryRecords())


@pytest.fixture
def workers(cluster: FakeCluster, sessions: Sessions) -> Workers:
    settings = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")
    none = cast(Any, None)
    real = cast(Cluster, cluster)
    place = Place(settings, real, none, sessions, none, none, Path("/s"), "n1", "p", none)
    return Workers(place)


def test_written_down_during_the_block_and_never_among_what_carries_data(
    workers: Workers, sessions: Sessions
) -> None:
    sessions.add("u", CLIENT)
    with workers.on(image_of("u"), Work.DATA, 3) as address:
        assert address == MINE
        assert Session("n1", MINE, "", 3, "data") in sessions.of("u")
        assert workers.place.own("u") == [CLIENT]
    assert sessions.of("u") == [CLIENT]


def test_after_a_later_claim_no_work_begins(workers: Workers, sessions: Sessions) -> None:
    sessions.take("u", 4)
    with pytest.raises(Fenced):
        workers.on(image_of("u"), Work.DATA, 3).__enter__()


def test_an_image_that_is_not_whole_is_nobody_elses(workers: Workers, sessions: Sessions) -> None:
    with workers.on(f"{image_of('u')}.new-n1", Work.BRIEF, 0) as address:
        assert address == MINE
        assert sessions.all() == {}


def test_the_dead_of_this_node_are_buried_and_nobody_else(
    workers: Workers, sessions: Sessions, cluster: FakeCluster
) -> None:
    other = Session("n2", "10.0.0.2:0/1", work="brief")
    for one in (CLIENT, other, Session("n1", EARLIER, work="brief")):
        sessions.add("u", one)
    with workers.on(image_of("u"), Work.BRIEF, 0):
        workers.bury("u")
        assert sessions.of("u") == [CLIENT, other, Session("n1", MINE, work="brief")]
    assert cluster.blocklisted == [EARLIER]


def test_who_rolls_back_counts_for_ever_and_who_does_less_while_it_watches(
    workers: Workers,
) -> None:
    rolls = Session("n2", "10.0.0.2:0/1", work="data")
    brief = Session("n3", "10.0.0.3:0/1", work="brief")
    mine = Session("n1", MINE, work="data")
    everybody = [CLIENT, rolls, brief, mine]
    assert workers.counting(everybody, set()) == [CLIENT, rolls]
    assert workers.counting(everybody, {brief.address, MINE}) == [CLIENT, rolls, brief]
