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
from backends.errors import Fenced, Unavailable
from backends.records.base import Record
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


class FakeRecords(MemoryRecords):
    away = False

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        if self.away:
            raise Unavailable("away")
        return super().put(key, value, expected=expected)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def records() -> FakeRecords:
    return FakeRecords()


@pytest.fixture
def sessions(records: FakeRecords) -> Sessions:
    return Sessions(records)


@pytest.fixture
def workers(cluster: FakeCluster, sessions: Sessions, tmp_path: Path) -> Workers:
    settings = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")
    none = cast(Any, None)
    real = cast(Cluster, cluster)
    place = Place(settings, real, none, sessions, none, none, tmp_path, "n1", "p", none)
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


def test_what_could_not_be_struck_out_is_tried_again(
    workers: Workers, sessions: Sessions, records: FakeRecords
) -> None:
    with workers.on(image_of("u"), Work.DATA, 3):
        records.away = True
    left = [Session("n1", MINE, "", 3, "data")]
    assert sessions.of("u") == left
    with pytest.raises(Unavailable):
        workers.settle()
    assert sessions.of("u") == left
    records.away = False
    workers.settle()
    assert sessions.of("u") == []


def test_what_is_going_on_again_is_not_struck_out(
    workers: Workers, sessions: Sessions, records: FakeRecords
) -> None:
    with workers.on(image_of("u"), Work.DATA, 3):
        records.away = True
    records.away = False
    with workers.on(image_of("u"), Work.DATA, 3):
        with workers.on(image_of("u"), Work.DATA, 3):
            workers.settle()
        assert sessions.of("u") == [Session("n1", MINE, "", 3, "data")]
    assert sessions.of("u") == []


def test_the_upkeep_buries_the_dead_of_every_volume(
    workers: Workers, sessions: Sessions, cluster: FakeCluster
) -> None:
    other = Session("n2", "10.0.0.2:0/1", work="data")
    for one in (CLIENT, other, Session("n1", EARLIER, work="data")):
        sessions.add("u", one)
    sessions.add("v", Session("n1", EARLIER, work="brief"))
    with workers.on(image_of("v"), Work.BRIEF, 0):
        workers.settle()
        assert sessions.all() == {"u": [CLIENT, other], "v": [Session("n1", MINE, work="brief")]}
    assert cluster.blocklisted == [EARLIER, EARLIER]
