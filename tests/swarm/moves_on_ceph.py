"""The database on a Ceph cluster, which itself refuses what a stale node writes: `make soak`."""

from __future__ import annotations

import pytest

from backends.ceph.options import Layout
from tests.lab.ceph_storage import CephStorage
from tests.lab.storage import Storage
from tests.swarm.database import DatabaseMoves


class TestOnRbd(DatabaseMoves):
    rounds = 6

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return CephStorage(Layout.DISK)


class TestOnCephFS(DatabaseMoves):
    rounds = 6

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Storage:
        return CephStorage(Layout.FILESYSTEM)
