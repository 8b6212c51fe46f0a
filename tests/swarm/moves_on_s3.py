"""The database on volumes in a bucket, which itself refuses what a stale node writes: `make soak`.

The store is behind every member's own cable: a member that is cut off can send nothing, goes on
from its local disk, and finds itself fenced when the cable is back.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.lab import images
from tests.lab.namespace import Failed
from tests.lab.s3_storage import S3Storage
from tests.lab.storage import Storage
from tests.lab.swarm import Member, Swarm
from tests.swarm.database import DatabaseMoves

NUMBERS = itertools.count(1)
LOOP = (
    "n=$(wc -l < /data/log || echo 0); "
    'while :; do n=$((n+1)); echo "$n $(hostname)" >> /data/log && sync -d /data/log && '
    "echo $n; sleep 0.1; done"
)


class Line:
    """A service that appends numbered lines, each synced and then printed by its container."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm, self.name = swarm, f"line-{next(NUMBERS)}"
        swarm.service(self.name, images.SMALL, "sh", "-c", LOOP, volume=self.name, at="/data")
        swarm.wait(lambda: self.confirmed() > 5, f"{self.name} writes", seconds=90)

    def member(self) -> Member | None:
        """Where a container of it runs, by its engine's own word; the newest one."""
        for member in self.swarm.members[1:]:
            with suppress(Failed):  # there is no such volume yet
                status = member.node.status(self.name)
                if status["state"] == "attached" and self.container(member):
                    return member
        return None

    def container(self, member: Member) -> str:
        """The newest container of it there, running or not."""
        found = member.docker("ps", "-aq", "--filter", f"name={self.name}.", seconds=10)
        return found.split()[0] if found else ""

    def confirmed(self, member: Member | None = None) -> int:
        """The last line that a container has printed as synced."""
        member = member or self.member()
        if member is None or not (container := self.container(member)):
            return 0
        said = member.docker("logs", "--tail", "20", container).split()
        return max((int(word) for word in said if word.isdigit()), default=0)

    def moved(self, first: Member) -> Member:
        """Wait until it writes on another member, which is returned."""
        other = next(one for one in self.swarm.members[1:] if one is not first)
        self.swarm.wait(
            lambda: bool(self.container(other)) and self.confirmed(other) > 0,
            f"{self.name} writes elsewhere",
            seconds=120,
        )
        return other

    def lines(self, member: Member) -> list[tuple[int, str]]:
        """What the volume holds, as its container on a member sees it."""
        text = member.docker("exec", self.container(member), "cat", "/data/log")
        pairs = [line.split() for line in text.splitlines() if line.count(" ") == 1]
        return [(int(number), host) for number, host in pairs]


def orphans(member: Member, volume: str) -> list[dict[str, Any]]:
    """What the member says that it could not send."""
    found: list[dict[str, Any]] = json.loads(member.node.kedge("orphans", volume, "--json"))
    return found


class OnS3(DatabaseMoves):
    """The database, and what is true of a bucket alone."""

    durability = "local"
    rounds = 6

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return S3Storage(cls.durability)

    @pytest.fixture(autouse=True)
    def _cleared(self, swarm: Swarm) -> Iterator[None]:
        yield
        swarm.clear()


class TestOnS3(OnS3):
    """Fsync waits for the node's disk."""

    @pytest.mark.timeout(0)
    def test_what_a_node_cut_off_confirmed_is_kept_and_said(self, swarm: Swarm) -> None:
        """It goes on from its own disk, which is allowed; once the other node has the volume, none
        of that is ever part of it, and none of it is lost."""
        line = Line(swarm)
        first = line.member()
        assert first is not None
        first.cut()
        try:
            other = line.moved(first)
        finally:
            first.join()
        swarm.wait(swarm.workers_ready, "the node is back")
        swarm.wait(lambda: bool(orphans(first, line.name)), "the orphan is listed", seconds=60)
        (orphan,) = orphans(first, line.name)
        assert orphan["size"] > 0
        swarm.wait(lambda: line.confirmed(other) > 0, "the other goes on")
        lines = line.lines(other)
        assert [n for n, _ in lines] == list(range(1, len(lines) + 1)), "a hole, or a mixture"
        assert doctor_says(first, line.name)
        assert orphans(other, line.name) == []


class TestOnS3Store(OnS3):
    """Fsync waits for the bucket: a lost node loses nothing."""

    durability = "store"


def doctor_says(member: Member, volume: str) -> bool:
    """Whether `kedge doctor` names the orphans of the volume."""
    try:
        said = member.node.kedge("doctor", seconds=120)
    except Failed as error:
        said = error.output
    return any(volume in row and "orphan" in row for row in said.splitlines())
