"""What is asked of the mgr is waited for by a thread, which may be left behind."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.ceph.cluster import _LEFT_BEHIND, Cluster
from backends.ceph.connection import Connection, configuration
from backends.ceph.options import CephSettings
from backends.errors import Unavailable

SETTINGS = CephSettings(keyring=Path("/etc/ceph/k"), fs="a", timeout=0.02)


class FakeHandle:
    def __init__(self) -> None:
        self.wakes = threading.Event()
        self.asked = 0

    def mgr_command(self, request: str, data: bytes) -> tuple[int, bytes, str]:
        self.asked += 1
        self.wakes.wait(30)
        return 0, b'["answered"]', ""


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = FakeHandle()
    monkeypatch.setattr(Connection, "handle", lambda self: made)
    yield made
    made.wakes.set()


def test_a_mgr_that_hangs_is_left_behind_and_asked_again(handle: FakeHandle) -> None:
    cluster = Cluster(SETTINGS)
    with pytest.raises(Unavailable, match="mgr does not answer in time"):
        cluster.mgr("fs ls")
    handle.wakes.set()
    assert cluster.mgr("fs ls") == ["answered"]


def test_it_is_not_asked_without_end(handle: FakeHandle) -> None:
    cluster = Cluster(SETTINGS)
    for _ in range(_LEFT_BEHIND + 3):
        with pytest.raises(Unavailable, match="mgr does not answer in time"):
            cluster.mgr("fs ls")
    assert handle.asked == _LEFT_BEHIND


def test_librados_itself_never_gives_up_on_a_mgr(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would crash when the answer came after all."""
    limits: list[list[str]] = []
    made = Connection.__init__

    def noted(self: Connection, settings: CephSettings, bounded: Any) -> None:
        limits.append(list(bounded))
        made(self, settings, bounded)

    monkeypatch.setattr(Connection, "__init__", noted)
    Cluster(SETTINGS)
    assert [("rados_mon_op_timeout" in found) for found in limits] == [True, False]


@pytest.mark.parametrize("timeout", [1.0, 10.0, 25.0])
def test_an_old_map_is_replaced_before_an_operation_gives_up(timeout: float) -> None:
    """Else an idle client would look for a dead OSD for ever."""
    told = configuration(replace(SETTINGS, timeout=timeout), ("rados_osd_op_timeout",))
    asks = float(told["objecter_timeout"]) + float(told["objecter_tick_interval"])
    assert asks < float(told["rados_osd_op_timeout"]) / 2
