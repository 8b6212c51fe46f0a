"""Status speaks from memory, and a cluster that is away is no error there."""

from typing import Any, cast

from backends.ceph.cluster import Cluster
from backends.ceph.pulse import EVERY, Pulse
from backends.ceph.sessions import Session, Sessions
from backends.errors import Unavailable
from backends.records.memory import MemoryRecords


class FakeCluster:
    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def mon(self, prefix: str) -> Any:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return {"status": "HEALTH_WARN"}


def test_health_and_clients_are_known_until_they_are_asked_again() -> None:
    cluster, now = FakeCluster(), [5]
    sessions = Sessions(MemoryRecords())
    sessions.add("u", Session("n1", "10.0.0.1:0/7", "", 1))
    pulse = Pulse(cast(Cluster, cluster), sessions, lambda: now[0])
    assert pulse.shown("u") == {}
    pulse.beat()
    assert pulse.shown("u") == {"health": "warn", "clients": "n1 (10.0.0.1:0/7)"}
    assert pulse.shown("v") == {"health": "warn"}
    pulse.beat()
    assert cluster.asked == 1, "it is not asked at every call"
    cluster.away, now[0] = True, now[0] + EVERY
    pulse.beat()
    assert pulse.shown("u") == {"health": "unreachable", "clients": "n1 (10.0.0.1:0/7)"}
