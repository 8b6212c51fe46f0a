"""The shipped Records implementations against their contract."""

from pathlib import Path

import pytest

from backends.records import Records
from backends.records_directory import DirectoryRecords
from backends.records_memory import MemoryRecords
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
