"""The shipped Records implementations against their contract."""

from pathlib import Path

import pytest

from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.records.memory import MemoryRecords
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from backends.testing.records import RecordsContract


class TestMemoryRecords(RecordsContract):
    @pytest.fixture
    def records(self) -> Records:
        return MemoryRecords()


class TestDirectoryRecords(RecordsContract):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Records:
        self.root = tmp_path
        return DirectoryRecords(tmp_path)

    def reopen(self, records: Records) -> Records:
        return DirectoryRecords(self.root)


class TestStoreRecords(RecordsContract):
    @pytest.fixture
    def records(self) -> Records:
        self.store = MemoryStore()
        return StoreRecords(self.store)

    def reopen(self, records: Records) -> Records:
        return StoreRecords(self.store)
