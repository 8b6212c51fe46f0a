"""The catalog: what the backend contract cannot see from outside."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from backends.base import OnRemove, Spec, Volume, VolumeOptions
from backends.catalog import Catalog
from backends.errors import Busy, Conflict, Damaged, Exists, HostError, NotFound, Unavailable
from backends.options import parse
from backends.records import Record
from backends.records.memory import MemoryRecords


class Counting(MemoryRecords):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def get(self, key: str) -> Record | None:
        self.reads.append(key)
        return super().get(key)


class Shelf:
    """Data that are a set of uuids."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.failure: Exception | None = None

    def make(self, volume: Volume[VolumeOptions]) -> None:
        if self.failure:
            raise self.failure
        self.there.add(volume.uuid)

    def delete(self, volume: Volume[VolumeOptions]) -> None:
        self.there.discard(volume.uuid)

    def where(self, volume: Volume[VolumeOptions]) -> str:
        return volume.uuid


@pytest.fixture
def records() -> Counting:
    return Counting()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def catalog(records: Counting, shelf: Shelf) -> Catalog[VolumeOptions]:
    return Catalog(records, VolumeOptions, shelf, now=lambda: "2026-01-01T00:00:00Z")


def spec(name: str, uuid: str = "u-1", **options: str) -> Spec[VolumeOptions]:
    return Spec(name, parse(VolumeOptions, options, subject=name), uuid, "2026-01-01T00:00:00Z")


def write(records: MemoryRecords, name: str, content: Mapping[str, Any] | bytes) -> None:
    value = content if isinstance(content, bytes) else json.dumps(content).encode()
    records.put(f"volumes/{name}", value, expected=None)


GOOD = {
    "format": 1,
    "uuid": "u-1",
    "name": "db",
    "created": "2026-01-01T00:00:00Z",
    "state": "ready",
    "options": {"mode": "0700"},
}


def test_a_record_as_it_is_on_disk(catalog: Catalog[VolumeOptions], records: Counting) -> None:
    """Other versions of this program will read it: changing it takes a new format."""
    catalog.create(spec("db", mode="0700", on_remove="trash"))
    record = records.get("volumes/db")
    assert record is not None
    assert json.loads(record.value) == {
        **GOOD,
        "options": {
            "access": "single",
            "uid": "0",
            "gid": "0",
            "mode": "0700",
            "on_remove": "trash",
        },
    }


def test_a_record_that_lacks_newer_options_is_read(
    catalog: Catalog[VolumeOptions], records: Counting
) -> None:
    write(records, "db", GOOD)
    assert catalog.get("db").options == VolumeOptions(mode=parse_mode("0700"))


def parse_mode(text: str) -> Any:
    return parse(VolumeOptions, {"mode": text}, subject="x").mode


BAD: dict[str, Mapping[str, Any] | bytes] = {
    "newer": {**GOOD, "format": 2},
    "no-format": {k: v for k, v in GOOD.items() if k != "format"},
    "no-uuid": {k: v for k, v in GOOD.items() if k != "uuid"},
    "uuid-is-a-path": {**GOOD, "uuid": "../../etc"},
    "unknown-state": {**GOOD, "state": "sleeping"},
    "unknown-option": {**GOOD, "options": {"color": "blue"}},
    "bad-option": {**GOOD, "options": {"mode": "abc"}},
    "options-no-table": {**GOOD, "options": 7},
    "a-list": b"[]",
    "a-number": b"7",
    "torn": b'{"format": 1, "uuid"',
    "empty": b"",
    "binary": b"\xff\xfe\0",
    "another-name": {**GOOD, "name": "other"},
}


@pytest.mark.parametrize("content", BAD.values(), ids=list(BAD))
def test_a_record_that_cannot_be_read_is_damaged_and_stays(
    catalog: Catalog[VolumeOptions], records: Counting, content: Mapping[str, Any] | bytes
) -> None:
    write(records, "db", content)
    catalog.create(spec("good", uuid="u-2"))
    before = records.get("volumes/db")
    with pytest.raises(Damaged, match="volumes/db"):
        catalog.get("db")
    with pytest.raises(Damaged, match="volumes/db"):
        catalog.create(spec("db"))
    with pytest.raises(Damaged, match="volumes/db"):
        catalog.remove(Volume("db", "u-1", "", VolumeOptions()))
    assert records.get("volumes/db") == before
    assert [volume.name for volume in catalog.volumes()] == ["good"]
    (error,) = catalog.damaged()
    assert "volumes/db" in str(error)


def test_nothing_is_purged_while_a_record_cannot_be_read(
    catalog: Catalog[VolumeOptions], records: Counting, shelf: Shelf
) -> None:
    """It may be the one that names the data."""
    catalog.remove(catalog.create(spec("db", on_remove="trash")))
    write(records, "other", b"torn")
    with pytest.raises(Damaged):
        catalog.purge("u-1")
    assert shelf.there == {"u-1"}


def test_what_a_volume_names_is_never_purged(
    catalog: Catalog[VolumeOptions], records: Counting, shelf: Shelf
) -> None:
    catalog.remove(catalog.create(spec("db", on_remove="trash")))
    write(records, "other", {**GOOD, "name": "other"})
    catalog.purge("u-1")
    assert shelf.there == {"u-1"}
    assert catalog.trashed() == []


def test_unchanged_records_are_not_read_again(
    catalog: Catalog[VolumeOptions], records: Counting
) -> None:
    for number in range(50):
        catalog.create(spec(f"v{number}", uuid=f"u-{number}"))
    catalog.volumes()
    records.reads.clear()
    assert len(catalog.volumes()) == 50
    assert records.reads == []
    catalog.remove(catalog.get("v7"))
    catalog.create(spec("v7", uuid="again"))
    records.reads.clear()
    assert {volume.name: volume.uuid for volume in catalog.volumes()}["v7"] == "again"
    assert records.reads == ["volumes/v7"]


def test_a_failed_creation_leaves_nothing(
    catalog: Catalog[VolumeOptions], records: Counting, shelf: Shelf
) -> None:
    shelf.failure = HostError("no")
    with pytest.raises(HostError, match="no"):
        catalog.create(spec("db"))
    assert records.keys("volumes") == []
    shelf.failure = None
    catalog.create(spec("db", uuid="u-2"))
    assert shelf.there == {"u-2"}


def test_a_creation_without_answer_is_finished_by_the_next(
    catalog: Catalog[VolumeOptions], records: Counting, shelf: Shelf
) -> None:
    shelf.failure = Unavailable("away")
    with pytest.raises(Unavailable):
        catalog.create(spec("db"))
    with pytest.raises(NotFound):
        catalog.get("db")
    shelf.failure = None
    assert catalog.create(spec("db", uuid="u-2")).uuid == "u-1"


def test_only_a_creation_that_was_not_finished_is_abandoned(
    catalog: Catalog[VolumeOptions], shelf: Shelf
) -> None:
    catalog.create(spec("whole", uuid="u-1"))
    shelf.failure = Unavailable("away")
    with pytest.raises(Unavailable):
        catalog.create(spec("begun", uuid="u-2"))
    shelf.failure = None
    shelf.there.add("u-2")
    for name, uuid in (("whole", "u-1"), ("begun", "u-1"), ("nothing", "u-3")):
        catalog.abandon(name, uuid)
    assert shelf.there == {"u-1", "u-2"}
    for _ in range(2):
        catalog.abandon("begun", "u-2")
        assert shelf.there == {"u-1"}
    assert catalog.create(spec("begun", uuid="u-4")).uuid == "u-4"


def test_what_differs_is_named(catalog: Catalog[VolumeOptions]) -> None:
    catalog.create(spec("db", mode="0700", uid="5"))
    with pytest.raises(Exists, match="mode: has 0700, asked 0755; uid: has 5, asked 7"):
        catalog.create(spec("db", uid="7"))


def test_kept_data_are_adopted_when_nothing_contradicts(
    catalog: Catalog[VolumeOptions], shelf: Shelf
) -> None:
    catalog.remove(catalog.create(spec("db", mode="0700", on_remove="keep")))
    assert shelf.there == {"u-1"}
    with pytest.raises(Exists, match="mode: has 0700, asked 0750"):
        catalog.create(spec("db", uuid="u-2", mode="0750"))
    volume = catalog.create(spec("db", uuid="u-2"))
    assert (volume.uuid, volume.options.mode, volume.options.on_remove) == (
        "u-1",
        0o700,
        OnRemove.KEEP,
    )


def test_the_record_outlives_the_data_never_the_other_way(
    catalog: Catalog[VolumeOptions],
    records: Counting,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While data are deleted a record still says so."""
    volume = catalog.create(spec("db"))
    seen = []

    def delete(gone: Volume[VolumeOptions]) -> None:
        record = records.get("volumes/db")
        seen.append(record and json.loads(record.value)["state"])

    monkeypatch.setattr(shelf, "delete", delete)
    catalog.remove(volume)
    assert seen == ["removing"]
    assert records.get("volumes/db") is None


def test_endless_interference_is_reported(
    catalog: Catalog[VolumeOptions], records: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(key: str, value: bytes, *, expected: str | None) -> Record:
        raise Conflict("always")

    monkeypatch.setattr(records, "put", put)
    with pytest.raises(Busy, match="db"):
        catalog.create(spec("db"))


@pytest.mark.parametrize("uuid", ["", "..", "a/b", "-x", "x" * 58, "a b"])
def test_a_uuid_that_is_no_name_is_refused(catalog: Catalog[VolumeOptions], uuid: str) -> None:
    with pytest.raises(ValueError, match="uuid"):
        catalog.create(spec("db", uuid=uuid))
