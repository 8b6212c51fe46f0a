"""Services on a Ceph cluster, which itself refuses what a stale node writes: for `make soak`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import pytest

from backends.ceph.options import Layout
from tests.lab import images
from tests.lab.ceph_storage import CephStorage
from tests.lab.namespace import Failed
from tests.lab.storage import Storage
from tests.lab.swarm import Member, Swarm
from tests.swarm.database import DatabaseMoves

ATTEMPTS = """
n=0
while :; do
    n=$((n+1)); file=$(hostname).$n
    if dd if=/dev/zero of=/data/$file bs=1k count=1 conv=fsync 2>/dev/null
    then echo "ok $file"; else echo "no $file"; fi >>/tmp/log
    sleep 0.1
done
"""
"""Writes one durable file after another, and remembers outside the volume which were confirmed."""


class MovesOnCeph(DatabaseMoves, ABC):
    """Once per layout."""

    rounds = 6

    @staticmethod
    @abstractmethod
    def layout() -> Layout:
        """Of every volume."""

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return CephStorage(cls.layout())

    @pytest.mark.parametrize("event", ["frozen", "cut off"])
    def test_a_stale_node_tries_to_write_and_is_refused(self, swarm: Swarm, event: str) -> None:
        """It has the volume mounted and its container runs; another node has taken over."""
        name = f"late-{event.replace(' ', '-')}"
        swarm.service(name, images.SMALL, "sh", "-c", ATTEMPTS, volume=name, at="/data")
        swarm.wait(lambda: swarm.where(name) is not None, "the service runs")
        first = swarm.where(name)
        assert first is not None
        old = first.docker("ps", "-q", "--filter", f"name={name}.")
        swarm.wait(lambda: len(confirmed(first, old)) > 5, "the first node writes")
        stop, go_on = stale(first, event)
        stop()
        try:
            swarm.wait(lambda: swarm.where(name) not in (first, None), "it runs elsewhere")
            second = swarm.where(name)
            assert second is not None
            new = second.docker("ps", "-q", "--filter", f"name={name}.")
            swarm.wait(lambda: len(confirmed(second, new)) > 5, "the second node writes")
            seen = stored(second, new)
        finally:
            go_on()
        swarm.wait(lambda: bool(refused(first, old)), "the stale node has tried to write")
        swarm.wait(swarm.workers_ready, "every node is there")
        assert confirmed(first, old) <= seen, "what was confirmed is there, and nothing after it"
        late = {file for file in stored(second, new) - seen if file.startswith(f"{first.name}.")}
        assert late == set(), "the stale node has written after it was superseded"
        swarm.manager.docker("service", "rm", name)


class TestOnRbd(MovesOnCeph):
    @staticmethod
    def layout() -> Layout:
        return Layout.DISK


class TestOnCephFS(MovesOnCeph):
    @staticmethod
    def layout() -> Layout:
        return Layout.FILESYSTEM


def stale(member: Member, event: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """What makes a node stale without a word, and what brings it back."""
    return (member.freeze, member.thaw) if event == "frozen" else (member.cut, member.join)


def tried(member: Member, container: str) -> list[tuple[str, str]]:
    """Every attempt of a container, and whether it was confirmed; also when it has ended."""
    try:
        said = member.docker("cp", f"{container}:/tmp/log", "-")
    except Failed:
        return []
    lines = [line.split() for line in said.splitlines()]
    return [(line[0][-2:], line[1]) for line in lines if len(line) == 2]


def confirmed(member: Member, container: str) -> set[str]:
    """The files that the container was told are safe."""
    return {file for outcome, file in tried(member, container) if outcome == "ok"}


def refused(member: Member, container: str) -> set[str]:
    """Those whose writing has failed."""
    return {file for outcome, file in tried(member, container) if outcome == "no"}


def stored(member: Member, container: str) -> set[str]:
    """The files in the volume, as a container there sees them."""
    return set(member.docker("exec", container, "ls", "/data").split())
