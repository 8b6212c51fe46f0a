"""The s3 backend against the whole contract, every verb dying at each of its steps (KEDGE_STRIDE:
at every so many), on moto and on a real radosgw; and records and claims on them. Takes an hour."""

import os
from collections.abc import Iterator, Mapping
from itertools import count
from typing import ClassVar, cast

import pytest

from backends.records import Records
from backends.records.store import StoreRecords
from backends.s3 import S3Backend
from backends.stores.s3 import S3Store, connect
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    SnapshotContract,
    TrashContract,
)
from backends.testing.backend.world import AnyBackend
from backends.testing.claims import ClaimsContract
from backends.testing.faulty import dies_at
from backends.testing.records import RecordsContract
from tests.contract.test_s3 import S3World
from tests.lab.object_store import Moto, ObjectStore
from tests.lab.radosgw import RadosGateway

pytestmark = pytest.mark.lab
STRIDE = int(os.environ.get("KEDGE_STRIDE", "1"))
_prefixes = count(1)


@pytest.fixture(scope="module", params=[Moto, RadosGateway])
def server(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    made: ObjectStore = request.param()
    try:
        made.start()
        made.bucket("volumes")
        yield made
    finally:
        made.close()


class TestS3(
    S3World, BackendContract, EverywhereContract, TrashContract, ResizeContract, SnapshotContract
):
    unfit: ClassVar[Mapping[str, str]] = {"fs": "xfs", "size": "512M"}
    first: ClassVar[int] = 0
    stride: ClassVar[int] = STRIDE

    def reopen(self, backend: AnyBackend) -> AnyBackend:
        return _trusting(super().reopen(backend))

    def elsewhere(self, backend: AnyBackend) -> AnyBackend:
        return _trusting(super().elsewhere(backend))

    def test_a_death_while_the_store_is_probed(self, backend: AnyBackend) -> None:
        """The first step of every verb of a new service: who comes next finds nothing wrong."""

        def fresh() -> S3Backend:
            return S3Backend(backend.settings, backend.context)

        for effect in count(0, max(STRIDE, 5)):
            died = dies_at(effect, fresh().check)
            fresh().check()
            if not died:
                break
        assert effect > 20
        assert self.stored(backend, self.create(backend)) == {}


def _trusting(backend: AnyBackend) -> AnyBackend:
    """It does not probe its store again, as the first one of the test does: that is a hundred
    requests for each of its lives, and as many steps at which it could die."""
    cast(S3Backend, backend)._probed = True
    return backend


class _OnStore:
    @pytest.fixture
    def records(self, server: ObjectStore) -> Records:
        client = connect(server.endpoint)
        self.inner = S3Store(lambda: client, "volumes", f"records-{next(_prefixes)}")
        return StoreRecords(self.inner)

    def reopen(self, records: Records) -> Records:
        return StoreRecords(self.inner)


class TestRecords(_OnStore, RecordsContract):
    pass


class TestClaims(_OnStore, ClaimsContract):
    pass
