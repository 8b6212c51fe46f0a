"""A volume goes from node to node, each of which is lost while it writes: `make soak`.

KEDGE_TAKEOVERS times in a row. Every line was synced before the next one; each names its number and
the owner that wrote it, so that what a lost owner had and nobody got can never hide in what is
there. A node comes back with its disk, or with an empty one.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

import pytest

from tests.lab.object_store import ObjectStore
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import nodes

__all__ = ["home", "server"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

TAKEOVERS = int(os.environ.get("KEDGE_TAKEOVERS", "40"))
RPO = 1.0
LATE = 4.0
"""Seconds beyond `rpo` that a machine of two cores, which is also the store, may need to ship."""

MORE = 8
"""Descriptors and threads by which a moment may differ from another one."""


class Owner:
    """Appends lines until its node is lost: `lines` were begun, the first `synced` are promised."""

    def __init__(self, place: Path, turn: int, lines: list[bytes]) -> None:
        self.lines = lines
        self.synced = len(lines)
        self.times = [0.0] * len(lines)
        """When each line was synced."""
        self._path, self._turn = place / "log", turn
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with self._path.open("ab", buffering=0) as file:
                while True:
                    self.lines.append(b"%08d %03d\n" % (len(self.lines) + 1, self._turn))
                    file.write(self.lines[-1])
                    os.fsync(file.fileno())
                    self.times.append(time.monotonic())
                    self.synced = len(self.times)
        except OSError:
            return  # the node is lost

    def goes_on(self, lines: int, seconds: float) -> None:
        """Wait until it has written so much, for so long."""
        begun, until = self.synced, time.monotonic() + 60
        least = time.monotonic() + seconds
        while self.synced < begun + lines or time.monotonic() < least:
            assert time.monotonic() < until, f"stopped at line {self.synced}"
            time.sleep(0.01)

    def ended(self) -> None:
        """Wait until it has noticed."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def promised(self, durability: str, lost: float) -> int:
        """How many lines must be there, of a node that was lost at a moment."""
        if durability == "store":
            return sum(when <= lost for when in self.times)
        return sum(when <= lost - RPO - LATE for when in self.times)


@pytest.mark.parametrize("durability", ["store", "local"])
def test_taken_over_again_and_again(server: ObjectStore, home: Path, durability: str) -> None:
    with nodes(server, home, "one", "two") as pair:
        volume = pair[0].create(durability=durability, rpo=str(RPO))
        lines: list[bytes] = []
        least, seconds, orphans = 0, [], 0
        used = []
        for turn in range(TAKEOVERS + 1):
            node = pair[turn % 2]
            began = time.monotonic()
            place = node.attach(volume, turn + 1)
            found = mended(place / "log")
            assert found == lines[: len(found)], f"turn {turn}: what is there was never written so"
            assert len(found) >= least, f"turn {turn}: {least} lines were promised"
            owner = Owner(place, turn, found)
            owner.goes_on(1, 0)
            if turn:
                seconds.append(time.monotonic() - began)
            orphans += len(node.orphans())
            owner.goes_on(20, 2 * RPO)
            lost = time.monotonic()
            node.lose(disk=turn % 3 == 0)
            owner.ended()
            used.append(held_here())
            lines, least = owner.lines, owner.promised(durability, lost)
    seconds.sort()
    print(f"descriptors and threads of the service after each: {used}")
    assert max(used[-4:]) <= max(used[:4]) + MORE, "mounting and losing volumes leaks"
    print(
        f"{durability}: {len(seconds)} takeovers, {len(lines)} lines, {orphans} orphans met; "
        "seconds to the first synced write: "
        f"median {statistics.median(seconds):.2f}, worst {seconds[-1]:.2f}"
    )


def held_here() -> int:
    """What this process, which is both nodes' service, has open, and its threads."""
    return len(os.listdir("/proc/self/fd")) + threading.active_count()


def mended(path: Path) -> list[bytes]:
    """The lines of a file; of one that was being written when its node died the rest is cut off."""
    if not path.exists():
        return []
    found = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in found if line.endswith(b"\n")]
    os.truncate(path, len(b"".join(whole)))
    return whole
