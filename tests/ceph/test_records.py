"""Records on RADOS against their contract."""

import gc
from collections.abc import Iterator

import pytest

from backends.ambient import new_id
from backends.ceph.cluster import Cluster
from backends.ceph.options import CephSettings
from backends.ceph.records import RadosRecords
from backends.errors import Conflict, Damaged
from backends.records import Records
from backends.testing.claims import ClaimsContract
from backends.testing.records import RecordsContract

pytestmark = pytest.mark.lab


class TestRadosRecords(RecordsContract):
    @pytest.fixture
    def records(self, settings: CephSettings) -> Records:
        self.settings = settings
        return RadosRecords(Cluster(settings), new_id)

    def reopen(self, records: Records) -> Records:
        return RadosRecords(Cluster(self.settings), new_id)


class TestRadosClaims(ClaimsContract):
    """Claims and leases over them."""

    @pytest.fixture
    def records(self, settings: CephSettings) -> Iterator[Records]:
        self.settings = settings
        yield RadosRecords(Cluster(settings), new_id)
        gc.collect()  # a connection ends with its last user

    def reopen(self, records: Records) -> Records:
        return RadosRecords(Cluster(self.settings), new_id)


@pytest.fixture
def cluster(settings: CephSettings) -> Cluster:
    return Cluster(settings)


def test_more_records_than_one_answer_holds(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.ceph.records._PAGE", 7)
    records = RadosRecords(cluster, new_id)
    wanted = {
        f"volumes/v{number}": records.put(f"volumes/v{number}", b"", expected=None).version
        for number in range(21)
    }
    assert records.stamps("volumes") == wanted
    assert records.keys("volumes") == sorted(wanted)


def test_the_empty_version_is_nobodys(cluster: Cluster) -> None:
    """An absent entry compares as empty; a caller's empty version must not pass for it."""
    records = RadosRecords(cluster, new_id)
    with pytest.raises(Conflict):
        records.put("volumes/db", b"", expected="")
    assert records.get("volumes/db") is None


def test_a_value_that_was_changed_is_damaged(cluster: Cluster) -> None:
    records = RadosRecords(cluster, new_id)
    record = records.put("volumes/db", b"one", expected=None)
    with cluster.pool("kedge") as pool:
        operation = pool.create_write_op()
        pool.set_omap(operation, ("d.db",), (b"two",))
        pool.operate_write_op(operation, "records.volumes")
        pool.release_write_op(operation)
    with pytest.raises(Damaged, match=record.version):
        records.get("volumes/db")
