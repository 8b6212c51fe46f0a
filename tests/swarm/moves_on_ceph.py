"""Moves on a Ceph cluster, which itself refuses what a stale node writes: `make soak`."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.ceph.options import Layout
from tests.ceph.test_fencing import Attempt, Writer
from tests.lab import images
from tests.lab.ceph_storage import CephStorage
from tests.lab.storage import Storage
from tests.lab.swarm import Member, Swarm
from tests.swarm.database import DatabaseMoves

NUMBERS = itertools.count(1)
MOVE_SECONDS = 120.0
FAR = pytest.mark.parametrize(
    ("leaves", "returns"),
    [(Member.freeze, Member.thaw), (Member.cut, Member.join)],
    ids=["frozen", "cut off"],
)


class Moves(DatabaseMoves):
    """The database, and one write that comes too late."""

    rounds = 10

    @pytest.fixture(autouse=True)
    def _cleared(self, swarm: Swarm) -> Iterator[None]:
        yield
        swarm.clear()

    @FAR
    def test_what_a_stale_node_writes_after_the_move_is_refused(
        self, swarm: Swarm, leaves: Callable[[Member], None], returns: Callable[[Member], None]
    ) -> None:
        """A program on the old node has its file open all the time, and writes when another node
        has the volume. The cluster refuses it, the new node does not see it, the old one says
        what happened and lets go."""
        name = f"log-{next(NUMBERS)}"
        swarm.service(name, images.SMALL, "sh", "-c", idle(name), volume=name, at="/data")
        swarm.wait(lambda: bool(places(name)), "the service runs", seconds=MOVE_SECONDS)
        (old,) = places(name)
        first = next(m for m in swarm.members if m.node.status(name)["state"] == "attached")
        with opened(old / "log") as stale:
            stale.write("first")
            leaves(first)
            try:
                moved = f"{name} is elsewhere"
                swarm.wait(lambda: bool(places(name) - {old}), moved, seconds=MOVE_SECONDS)
                (new,) = places(name) - {old}
                with opened(new / "log") as now:
                    now.write("second")
                    attempt = Attempt(stale)
                    attempt.join(2)
                    assert not attempt.acknowledged
            finally:
                returns(first)
            assert attempt.was_refused(60)
        with opened(new / "log") as now:
            now.write("third")
        assert (new / "log").read_text() == "first\nsecond\nthird\n"
        swarm.wait(lambda: f"volume {name} is fenced" in first.node.log(), "it is reported")
        first.node.wait_for_state(name, "detached", seconds=MOVE_SECONDS)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Writer]:
    """Closed also when a test fails: nothing of a node ends while its file is held from outside."""
    writer = Writer(path)
    try:
        yield writer
    finally:
        writer.close()


def idle(name: str) -> str:
    """A command that nobody else runs, and that ends when it is told."""
    return f": {name}; trap exit TERM; while :; do sleep 0.2; done"


def places(name: str) -> set[Path]:
    """Where containers with this command have their volume, as seen from the machine. What is
    frozen is not looked into."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            mounts = (entry / "mountinfo").read_text()
        except OSError:
            continue
        if f": {name};".encode() in line and " /data " in mounts and os.getpid() != int(entry.name):
            found.add(entry / "root/data")
    return found


class TestOnRbd(Moves):
    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return CephStorage(Layout.DISK)


class TestOnCephFS(Moves):
    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return CephStorage(Layout.FILESYSTEM)
