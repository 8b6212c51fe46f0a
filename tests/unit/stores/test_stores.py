"""Every store keeps the same contract; the S3 one against a server."""

import botocore.exceptions  # type: ignore[import-untyped]
import pytest

from backends.errors import Conflict, NotFound, Unavailable
from backends.stores.base import Listed, Store
from backends.stores.memory import MemoryStore
from backends.stores.probe import probe
from backends.stores.s3 import Endpoint, S3Store, Tuning, connect
from backends.stores.settled import create
from tests.unit.stores.moto import fresh_store


class StoreContract:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: Store) -> None:
        store.put("a/b", b"one")
        assert store.get("a/b") == b"one"
        store.put("a/b", b"two")
        assert store.get("a/b") == b"two"
        assert store.head("a/b") == 3

    def test_empty_objects(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.head("empty") == 0

    def test_absence_is_certain(self, store: Store) -> None:
        assert store.head("a") is None
        with pytest.raises(NotFound):
            store.get("a")
        with pytest.raises(NotFound):
            store.get_range("a", 0, 1)
        store.delete("a")

    def test_ranges(self, store: Store) -> None:
        store.put("a", b"0123456789")
        assert store.get_range("a", 2, 3) == b"234"
        assert store.get_range("a", 8, 100) == b"89"
        assert store.get_range("a", 10, 1) == b""
        assert store.get_range("a", 99, 1) == b""
        assert store.get_range("a", 3, 0) == b""

    def test_creation_happens_once(self, store: Store) -> None:
        store.put_if_absent("a", b"one")
        with pytest.raises(Conflict):
            store.put_if_absent("a", b"two")
        assert store.get("a") == b"one"
        store.delete("a")
        store.put_if_absent("a", b"three")
        assert store.get("a") == b"three"

    def test_create_tells_ours_from_others(self, store: Store) -> None:
        assert create(store, "a", b"mine") is None
        assert create(store, "a", b"mine") is None
        taken = create(store, "a", b"other")
        assert taken is not None
        assert taken.body == b"mine"

    def test_listing(self, store: Store) -> None:
        for key in ("p/b", "p/a", "q/c", "p/a.b"):
            store.put(key, key.encode())
        assert store.list("p/") == [Listed("p/a", 3), Listed("p/a.b", 5), Listed("p/b", 3)]
        assert store.list("p/", after="p/a") == [Listed("p/a.b", 5), Listed("p/b", 3)]
        assert store.list("nothing/") == []

    def test_the_probe_finds_nothing_wrong_and_leaves_nothing(self, store: Store) -> None:
        names = iter("abcdef")
        verdict = probe(store, lambda: next(names), races=1)
        assert verdict.conditional, verdict.faults
        assert store.list("probe/") == []


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, endpoint: Endpoint) -> Store:
        return fresh_store(endpoint)

    def test_a_listing_of_many_pages_is_whole(self, endpoint: Endpoint) -> None:
        store = fresh_store(endpoint)
        for number in range(7):
            store.put(f"k/{number:04d}", b"")
        paged = S3Store(store._client, store._bucket, "some/prefix", page=3)
        assert [item.key for item in paged.list("k/")] == [f"k/{n:04d}" for n in range(7)]

    def test_what_is_written_is_kept_as_asked(self, endpoint: Endpoint) -> None:
        plain = fresh_store(endpoint)
        rare = S3Store(plain._client, plain._bucket, kept="STANDARD_IA")
        rare.put("a", b"x")
        rare.put_if_absent("b", b"y")
        for key in ("a", "b"):
            found = plain._client().head_object(Bucket=plain._bucket, Key=key)
            assert found["StorageClass"] == "STANDARD_IA"

    def test_prefixes_keep_apart(self, endpoint: Endpoint) -> None:
        one = fresh_store(endpoint, "one")
        whole = S3Store(one._client, one._bucket)
        one.put("a", b"x")
        assert [item.key for item in whole.list("")] == ["one/a"]

    def test_a_missing_bucket_is_not_a_missing_object(self, endpoint: Endpoint) -> None:
        client = connect(endpoint)
        store = S3Store(lambda: client, "no-such-bucket")
        for ask in (store.get, store.head, store.list):
            with pytest.raises(Unavailable, match="no such bucket"):
                ask("a")

    def test_an_unreachable_store_is_unavailable(self) -> None:
        client = connect(
            Endpoint(
                url="http://127.0.0.1:9",
                region="x",
                access_key="test",
                secret_key="test",  # noqa: S106
                path_style=True,
            ),
            Tuning(connect_seconds=1),
        )
        with pytest.raises(Unavailable, match="bucket b"):
            S3Store(lambda: client, "b").get("a")


class _Strict:
    """A store that says of an object that is gone that it is not there (Google's does)."""

    def delete_object(self, **named: str) -> None:
        error = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
        raise botocore.exceptions.ClientError(error, "DeleteObject")


def test_a_deletion_that_had_been_done_already_is_no_failure() -> None:
    """Its first reply was lost; the repetition must not end the disk that asked."""
    S3Store(lambda: _Strict(), "bucket").delete("a")
