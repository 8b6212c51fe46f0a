"""The shipped Records implementations against their contract."""

from backends.testing.records import RecordsContract
from tests.contract.shipped_records import InDirectory, InMemory, InStore


class TestMemoryRecords(InMemory, RecordsContract):
    pass


class TestDirectoryRecords(InDirectory, RecordsContract):
    pass


class TestStoreRecords(InStore, RecordsContract):
    pass
