"""Claims and leases against their contract, over every shipped Records."""

from pathlib import Path

import pytest

from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.records.memory import MemoryRecords
from backends.records.store import StoreRecords
from backends.stores.memory import MemoryStore
from backends.testing.claims import ClaimsContract


class TestMemoryRecords(ClaimsContract):
    @pytest.fixture
    def records(self) -> Records:
        return MemoryRecords()


class TestDirectoryRecords(ClaimsContract):
    @pytest.fixture
    def records(self, tmp_path: Path) -> Records:
        self.root = tmp_path
        return DirectoryRecords(tmp_path)

    def reopen(self, records: Records) -> Records:
        return DirectoryRecords(self.root)


class TestStoreRecords(ClaimsContract):
    @pytest.fixture
    def records(self) -> Records:
        self.store = MemoryStore()
        return StoreRecords(self.store)

    def reopen(self, records: Records) -> Records:
        return StoreRecords(self.store)
