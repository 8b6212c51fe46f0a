"""Each Records that is shipped and needs no server, as a fixture to put before a contract."""

from pathlib import Path

import pytest

from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.records.memory import MemoryRecords
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore


class InMemory:
    """Cannot be opened a second time."""

    @pytest.fixture
    def records(self) -> Records:
        return MemoryRecords()


class InDirectory:
    """On the file system of the tests."""

    @pytest.fixture
    def records(self, tmp_path: Path) -> Records:
        self.root = tmp_path
        return DirectoryRecords(tmp_path)

    def reopen(self, records: Records) -> Records:
        """The same records, as another process opens them."""
        return DirectoryRecords(self.root)


class InStore:
    """On an object store in memory."""

    @pytest.fixture
    def records(self) -> Records:
        self.store = MemoryStore()
        return StoreRecords(self.store)

    def reopen(self, records: Records) -> Records:
        """The same records, as another process opens them."""
        return StoreRecords(self.store)
