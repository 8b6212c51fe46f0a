"""A database on a directory that all nodes share, moved by one failure after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.swarm import Swarm
from tests.swarm.database import DatabaseMoves


class TestDatabaseOnASharedDirectory(DatabaseMoves):
    @pytest.fixture(scope="class")
    @classmethod
    def swarm(cls, whole_swarm: Swarm) -> Swarm:
        """The one of all tests here."""
        return whole_swarm

    @pytest.fixture(autouse=True)
    def _cleared(self, swarm: Swarm) -> Iterator[None]:
        yield
        swarm.clear()
