"""Claims and leases against their contract, over every shipped Records."""

from backends.testing.claims import ClaimsContract
from tests.contract.shipped_records import InDirectory, InMemory, InStore


class TestMemoryRecords(InMemory, ClaimsContract):
    pass


class TestDirectoryRecords(InDirectory, ClaimsContract):
    pass


class TestStoreRecords(InStore, ClaimsContract):
    pass
