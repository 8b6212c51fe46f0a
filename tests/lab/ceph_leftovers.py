"""What clients of a cluster of the lab have left on this machine."""

from __future__ import annotations

import time
from pathlib import Path

from tests.lab.ceph import Ceph
from tests.lab.node import loops

SECONDS = 60.0
"""In which what was told to end has ended."""


def nothing_left(cluster: Ceph) -> None:
    """AssertionError, naming it, when a process, a mount or a loop device of a client is there and
    does not go."""
    deadline = time.monotonic() + SECONDS
    while found := _left(cluster):
        assert time.monotonic() < deadline, f"left behind: {', '.join(found)}"
        time.sleep(0.2)


def _left(cluster: Ceph) -> list[str]:
    root = str(cluster.root)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *(f"process {pid}" for pid in cluster.clients()),
        *(f"mount {line.split()[4]}" for line in mounts if root in line),
        *(f"loop device on {file}" for file in loops() if root in file),
    ]
