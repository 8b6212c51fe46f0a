"""What a node keeps of a disk goes when the disk was deleted elsewhere, and not before."""

import os
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pytest

from backends.base import Context, Volume
from backends.disk.core.head import Heads
from backends.disk.core.logformat import HEADER
from backends.disk.log.locallog import new_log
from backends.disk.log.logfiles import LogFiles
from backends.disk.log.orphaned import unsent
from backends.errors import Busy, Damaged, HostError, NotFound
from backends.records.store import StoreRecords
from backends.s3.disks import Disks
from backends.s3.inspection import Inspection
from backends.s3.options import S3Options
from backends.s3.tidying import EVERY, Tidying
from backends.stores.bucket import Bucket
from backends.stores.memory import MemoryStore
from tests.unit.disk.test_locallog import BINDING, flush, write


def test_only_what_was_deleted_goes(tmp_path: Path) -> None:
    store = MemoryStore()
    heads = Heads(StoreRecords(store))

    def nobody(name: str) -> object:
        raise NotFound(name)

    context = Context("s3", "node", tmp_path / "mounts", tmp_path / "state")
    disks = Disks(Bucket("b"), store, heads, context, nobody)  # type: ignore[arg-type]
    tidying = Tidying(disks)
    tidying.round([])
    names = {"listed", "trashed", "deleted", "of-another-bucket"}
    for name in names:
        (disks.directory(name) / "log").mkdir(parents=True)
        (disks.directory(name) / "log" / "segment-1").write_bytes(b"unsent")
        if name != "of-another-bucket":
            heads.create(name, 4096)
    heads.delete("listed")  # not asked about: it is in the list
    heads.delete("deleted")
    tidying.round(["listed"])
    assert {path.name for path in (tmp_path / "state/disks").iterdir()} == names - {"deleted"}
    heads.delete("trashed")
    tidying.round(["listed"])
    assert disks.directory("trashed").exists()
    for _ in range(EVERY):
        tidying.round(["listed"])
    left = {path.name for path in (tmp_path / "state/disks").iterdir()}
    assert left == {"listed", "of-another-bucket"}
    assert list((tmp_path / "state/locks").iterdir()) == []


def test_one_that_is_in_work_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads(StoreRecords(MemoryStore()))
    context = Context("s3", "node", tmp_path / "mounts", tmp_path / "state")
    disks = Disks(Bucket("b"), MemoryStore(), heads, context, lambda name: None)  # type: ignore[arg-type,return-value]
    for name in ("a", "b", "c"):
        (disks.directory(name) / "log").mkdir(parents=True)
        heads.create(name, 4096)
        heads.delete(name)
    drop = Disks.drop

    def refuses(self: Disks, uuid: str) -> bool:
        if uuid == "c":
            return drop(self, uuid)
        raise Busy("being deleted") if uuid == "a" else HostError("disk on fire")

    monkeypatch.setattr(Disks, "drop", refuses)
    with pytest.raises(HostError, match="on fire"):
        Tidying(disks).round([])
    assert {path.name for path in (tmp_path / "state/disks").iterdir()} == {"a", "b"}


@pytest.mark.parametrize("broken", ["binding", "entry", "nothing is there"])
def test_an_orphan_that_cannot_be_read_leaves_no_file_open(tmp_path: Path, broken: str) -> None:
    store = MemoryStore()
    heads = Heads(StoreRecords(store))
    heads.create("uuid", 1 << 20)
    context = Context("s3", "node", tmp_path / "mounts", tmp_path / "state")
    disks = Disks(Bucket("b"), store, heads, context, lambda name: None)  # type: ignore[arg-type,return-value]
    path = disks.directory("uuid") / "orphan-1-00000000"
    log = new_log(LogFiles(path), BINDING, 3)
    write(log, 1)
    flush(log)
    write(log, 2)
    log.close()
    with (path / "segment-0000000000000001").open("r+b") as file:
        file.seek(HEADER + 200)
        file.write(b"x" if broken == "entry" else b"")
    if broken == "binding":
        (path / "binding.json").write_bytes(b"{")
    if broken == "nothing is there":
        (path / "binding.json").unlink()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Damaged):
        Inspection(disks).export_orphan(
            Volume("v", "uuid", "", S3Options()), "1-00000000", BytesIO(), lambda *_: None
        )
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_log_that_cannot_be_read_is_not_said_to_be_sent(tmp_path: Path) -> None:
    log = new_log(LogFiles(tmp_path), BINDING, 3)
    write(log, 1)
    log.release(1)
    log.close()
    assert not unsent(tmp_path, "uuid")
    with patch.object(LogFiles, "pread", side_effect=HostError("Input/output error")):
        assert unsent(tmp_path, "uuid")


def test_orphans_that_go_with_their_disk_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = Heads(StoreRecords(MemoryStore()))
    context = Context("s3", "node", tmp_path / "mounts", tmp_path / "state")
    disks = Disks(Bucket("b"), MemoryStore(), heads, context, lambda name: None)  # type: ignore[arg-type,return-value]
    orphan = disks.directory("a") / "orphan-10001-abcdef01"
    orphan.mkdir(parents=True)
    (orphan / "segment-0000000000000001").write_bytes(bytes(4096))
    (disks.directory("a") / "log").mkdir()
    heads.create("a", 4096)
    heads.delete("a")
    Tidying(disks).round([])
    assert not orphan.exists()
    (said,) = caplog.messages
    assert "disk a was deleted" in said
    assert f"{orphan} (4096 bytes)" in said
