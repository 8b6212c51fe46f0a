"""The pool itself: what every other test here relies on."""

import os
from pathlib import Path

import pytest

from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab


def _naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(entry.parent.name) != os.getpid():
            found.append(line)
    return found


def test_a_pool_comes_up_and_leaves_nothing() -> None:

    pool = Pool()
    try:
        pool.volume("once", network__ping_timeout="5")
        assert _naming(pool.root.name)
        assert "network.ping-timeout: 5" in pool.gluster("volume", "info", "once")
    finally:
        pool.close()
    assert not _naming(pool.root.name)
    assert not pool.root.exists()
    assert pool.root.name not in Path("/proc/self/mountinfo").read_text()
