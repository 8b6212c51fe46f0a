"""A service moves with its volume; nobody else writes to it meanwhile."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.lab import images
from tests.lab.namespace import Failed
from tests.lab.swarm import Member, Swarm
from tests.swarm.writer import Writer, logs

NUMBERS = itertools.count(1)
TTL = 6.0


@pytest.fixture
def writer(swarm: Swarm) -> Writer:
    """A service of one replica that writes."""
    made = Writer(swarm, f"log-{next(NUMBERS)}")
    made.start()
    return made


def member(swarm: Swarm, name: str) -> Member:
    return next(one for one in swarm.members if one.name == name)


def test_a_drained_node_hands_over(swarm: Swarm, writer: Writer) -> None:
    first = writer.node()
    swarm.drain(member(swarm, first))
    writer.moved_from(first, seconds=20)
    swarm.activate(member(swarm, first))
    assert writer.never_two()


def test_a_killed_node_is_followed_within_its_lease(swarm: Swarm, writer: Writer) -> None:
    first = member(swarm, writer.node())
    first.die()
    took = writer.moved_from(first.name, seconds=30)
    first.revive()
    swarm.wait(swarm.workers_ready, "the killed node is back")
    assert writer.never_two()
    assert took < 3 * 1.0 + TTL + 2 + 8, "Swarm's notice, the lease, and starting a container"


def test_a_node_cut_off_keeps_what_it_still_reaches(swarm: Swarm, writer: Writer) -> None:
    """Its lease lives on in the shared directory: Swarm may want the service elsewhere, kedge
    lets nobody else write until the node has let go."""
    first = member(swarm, writer.node())
    other = next(one for one in swarm.members[1:] if one is not first)
    first.cut()
    try:
        swarm.wait(lambda: refused(swarm, writer.volume, first.name), "the other node is refused")
        assert {node for node, _ in writer.lines()} == {first.name}
        assert other.node.status(writer.volume)["owner"] == first.name
    finally:
        first.join()
    swarm.wait(swarm.workers_ready, "the node is back")
    writer.moved_from(first.name, seconds=60)
    assert writer.never_two()


def refused(swarm: Swarm, service: str, holder: str) -> bool:
    said = swarm.manager.docker("service", "ps", "--no-trunc", "--format", "{{.Error}}", service)
    return f"in use by node {holder}" in said


def test_a_frozen_node_stops_when_it_wakes(swarm: Swarm, writer: Writer) -> None:
    """It could not stop itself in time: a shared directory cannot be fenced, and the status said
    so. It does stop as soon as it runs again."""
    first = member(swarm, writer.node())
    first.freeze()
    try:
        writer.moved_from(first.name, seconds=40)
        time.sleep(2 * TTL)
    finally:
        first.thaw()
    time.sleep(3.0)
    turns = writer.turns()
    assert writer.node() != first.name
    stale = [line for line in writer.lines()[-20:] if line[0] == first.name]
    assert stale == [], f"still writing three seconds after it woke: {turns}"
    assert first.node.status(writer.volume)["fencing"] == "advisory"


def test_start_first_waits_in_vain_and_harms_nothing(swarm: Swarm, writer: Writer) -> None:
    first = writer.node()
    node = "node.hostname!=" + first
    update = ["service", "update", "--detach", "--update-order", "start-first", "--force"]
    swarm.manager.docker(*update, "--constraint-add", node, writer.volume)
    swarm.wait(lambda: refused(swarm, writer.volume, first), "the new task is refused", seconds=60)
    assert writer.node() == first
    swarm.manager.docker(
        *("service", "update", "--detach", "--update-order", "stop-first", "--force"),
        writer.volume,
    )
    writer.moved_from(first, seconds=60)
    nodes = [node for node, _ in itertools.groupby(writer.lines(), key=lambda line: line[0])]
    assert nodes == [first, nodes[-1]], "tasks of one node may overlap, those of two never"


def test_replicas_share_a_node_but_not_two(swarm: Swarm, writer: Writer) -> None:
    first = writer.node()
    swarm.manager.docker(
        *("service", "update", "--detach", "--replicas", "2"),
        *("--constraint-add", f"node.hostname=={first}", writer.volume),
    )
    swarm.wait(lambda: len(set(writer.lines()[-10:])) == 2, "both replicas write on one node")
    swarm.manager.docker(
        *("service", "update", "--detach", "--constraint-rm", f"node.hostname=={first}"),
        *("--replicas-max-per-node", "1", writer.volume),
    )
    time.sleep(8)
    assert len({node for node, _ in writer.lines()[-10:]}) == 1


def test_twenty_volumes_move_at_once(swarm: Swarm) -> None:
    names = [f"many-{number}" for number in range(20)]
    mounts = [
        word
        for name in names
        for word in ("--mount", f"type=volume,source={name},target=/{name},volume-driver=kedge")
    ]
    loop = "for v in /many-*; do hostname >> $v/log; done; sleep 1000"
    swarm.manager.docker(
        *("service", "create", "--detach", "--no-resolve-image", "--network", "host"),
        *("--restart-delay", "200ms", "--stop-grace-period", "1s", "--name", "many"),
        *("--hostname", "{{.Node.Hostname}}", *mounts, images.SMALL, "sh", "-c", loop),
    )

    def written() -> set[str]:
        texts = [log.read_text() for log in logs(swarm)]
        lasts = [text.split()[-1] for text in texts if text.strip()]
        return set(lasts) if len(lasts) == 20 else set()

    swarm.wait(lambda: len(written()) == 1, "all volumes are written")
    (first,) = written()
    swarm.drain(member(swarm, first))
    swarm.wait(lambda: len(written()) == 1 and written() != {first}, "all volumes are elsewhere")


def test_swarm_restarting_changes_nothing(swarm: Swarm, writer: Writer) -> None:
    first, turns = writer.node(), writer.turns()
    swarm.manager.node.engine.restart()
    swarm.wait(swarm.workers_ready, "the manager is back")
    time.sleep(2)
    assert writer.node() == first
    assert writer.turns() == turns


def test_a_volume_in_use_elsewhere_is_not_removed(swarm: Swarm, writer: Writer) -> None:
    other = next(one for one in swarm.members[1:] if one.name != writer.node())
    with pytest.raises(Failed, match="in use by node"):
        other.docker("volume", "rm", writer.volume)
