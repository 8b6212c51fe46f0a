"""MariaDB and PostgreSQL on a volume in a bucket: rows of the failure matrix about what is broken,
not who is dead. See soak_s3_databases.py, whose way of counting this shares.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import Level, Volume
from backends.claims import Claim
from backends.errors import KedgeError
from backends.s3.disks import Disks
from tests.lab.databases import Database, Ledger, MariaDB, PostgreSQL
from tests.lab.flushing import flush
from tests.lab.object_store import ObjectStore
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import Node, nodes
from tests.lab.soak_s3_databases import (
    LATE,
    fenced,
    goes_on,
    meets,
    pair,
    rows_on,
    way_to,
    way_url,
    written,
)

__all__ = ["home", "pair", "server"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SMALL = 260
"""MiB of a node's disk: the three files without which there is no log, and little else."""


@contextmanager
def small_disk(home: Path, name: str) -> Iterator[Path]:
    """A file system of its own below a node."""
    image, place = home / f"{name}.img", home / name
    place.mkdir()
    subprocess.run(["truncate", "-s", f"{SMALL}M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    """As another program would."""
    handle = os.open(place / "others", os.O_WRONLY | os.O_CREAT)
    for piece in (1 << 20, 4096):
        with pytest.raises(OSError, match="No space left"):  # noqa: PT012
            while True:
                os.write(handle, b"x" * piece)
    os.close(handle)


def stuck(ledger: Ledger) -> None:
    """Wait until no row is confirmed any more."""
    until = time.monotonic() + 120
    before = -1
    while before != ledger.acknowledged:
        assert time.monotonic() < until, "the log never gets full"
        before = ledger.acknowledged
        time.sleep(4)


@meets(MariaDB)
def test_local_disk_full(server: ObjectStore, home: Path, kind: type[Database]) -> None:
    """Filled by somebody else while the store is away: rows are confirmed until the log has no room
    left, then the database waits. Nobody gets an error, then or later."""
    prefix = f"full-{kind.__name__}"
    with (
        way_to(server) as way,
        small_disk(home, "one") as place,
        nodes(server, home, "one", url=way_url(way), prefix=prefix) as (one,),
        nodes(server, home, "two", prefix=prefix) as (two,),
    ):
        volume = one.create(log="1G", cache="64M")
        one.attach(volume, 1)

        def kill(ledger: Ledger, db: Database) -> None:
            fill(place)
            goes_on(ledger)
            way.stall()
            goes_on(ledger)
            stuck(ledger)
            assert one.lag()["bytes"] > 0
            way.drop()
            way.well()
            goes_on(ledger)
            db.kill()
            one.await_shipped()

        ledger = written(one, kind, kill)
        assert one.path.call("status", seconds=10)["errors"] == 0
        one.lose(disk=False)
        found = rows_on(two.attach(volume, 2), kind)
        assert ledger.acknowledged <= found <= ledger.acknowledged + 1
        two.detach()


class Bucket:
    """The objects of a volume, to be spoiled and put back."""

    def __init__(self, node: Node, volume: Volume[Any]) -> None:
        self.store = node.backend._disks.store
        self._prefix = f"disks/{volume.uuid}/data/"
        self._right: dict[str, bytes] = {}

    def holding(self, text: bytes) -> str:
        """The object that has most of it."""
        keys = [item.key for item in self.store.list(self._prefix)]
        return max(keys, key=lambda key: self.store.get(key).count(text))

    def spoil(self, key: str, fault: str) -> None:
        body = self._right[key] = self.store.get(key)
        if fault == "missing":
            self.store.delete(key)
        elif fault == "short":
            self.store.put(key, body[: len(body) // 3])
        else:
            middle = [
                bytes([byte ^ 1]) if at % 4096 == 5 else bytes([byte])
                for at, byte in enumerate(body)
            ]
            self.store.put(key, body[:4096] + b"".join(middle)[4096:])

    def mend(self) -> None:
        for key, body in self._right.items():
            self.store.put(key, body)


PATTERN = hashlib.sha256(b"payload").digest()


def spoiled(pair: list[Node], kind: type[Database], fault: str) -> None:
    """One object with a file's bytes, then one with the database's: the first harms nobody but who
    reads the file, and of the second the database says that it cannot read it, or does not need
    it. No wrong byte, no missing row; and both are whole again when the objects are."""
    one, two = pair
    volume = one.create()
    place = one.attach(volume, 1)
    (place / "file").write_bytes(PATTERN * (1 << 19))
    flush(place)
    one.await_shipped()  # no object has some of the file and some of the database
    ledger = written(one, kind, lambda ledger, db: goes_on(ledger, 300))
    rows = rows_on(one.place, kind)
    one.detach()
    bucket = Bucket(two, volume)
    file_key, rows_key = bucket.holding(PATTERN), bucket.holding(b"0" * 100)
    assert file_key != rows_key
    bucket.spoil(file_key, fault)
    place = two.attach(volume, 2)
    with pytest.raises(OSError, match="Input/output error") as refused:
        (place / "file").read_bytes()
    assert refused.value.errno == errno.EIO
    with kind(place) as db:
        assert db.found() == rows
        with db.writing(Ledger(acknowledged=rows)) as news:
            goes_on(news)
        db.stop()
    rows = news.acknowledged
    said = two.lag()["damaged"]
    assert any(file_key in words for words in said), said
    found = [one for one in two.backend.findings() if one.level is Level.ERROR]
    assert any(file_key in one.detail for one in found), found
    two.detach()
    checked = two.backend.fsck(volume, lambda done, total: None, attached=False)
    assert any(file_key in f"{one.subject} {one.detail}" for one in checked)
    bucket.spoil(rows_key, fault)
    assert honest(one, volume, kind) in (rows, rows + 1, None)
    bucket.mend()
    place = two.attach(volume, 4)
    assert (place / "file").read_bytes() == PATTERN * (1 << 19)
    assert rows <= rows_on(place, kind) <= rows + 1
    assert ledger.acknowledged <= rows
    two.detach()
    (whole,) = two.backend.fsck(volume, lambda done, total: None, attached=False)
    assert whole.level is Level.OK


def honest(node: Node, volume: Volume[Any], kind: type[Database]) -> int | None:
    """The rows that a database finds on a damaged volume; None: somebody says that he cannot."""
    try:
        place = node.attach(volume, 3)
        with kind(place) as db:
            found = db.found()
    except (AssertionError, KedgeError, OSError) as error:
        return -1 if "a row in the middle is missing" in str(error) else None
    finally:
        node.lose(disk=True)
    return found


@pytest.mark.parametrize("fault", ["corrupt", "short"])
@meets(MariaDB)
def test_corrupt_or_short_object(pair: list[Node], kind: type[Database], fault: str) -> None:
    spoiled(pair, kind, fault)


@meets(PostgreSQL)
def test_missing_object(pair: list[Node], kind: type[Database]) -> None:
    spoiled(pair, kind, "missing")


@meets(MariaDB)
def test_missing_object_of_the_log_and_going_on_without_it(
    pair: list[Node], kind: type[Database], home: Path
) -> None:
    """A node is lost, and then a record of the volume's log: nobody mounts it. The image of what is
    left holds a database with the first rows, without a gap; gone on from there, so does the disk,
    and the later records are in a snapshot."""
    one, two = pair
    volume = one.create(rpo="0.5")
    one.attach(volume, 1)

    def kill(ledger: Ledger, db: Database) -> None:
        goes_on(ledger, 300)
        marks.append(ledger.acknowledged)
        one.path.call("snapshot", {"name": "mark", "created": "", "call": "mark"}, seconds=120)
        first, until = one.lag()["commit"], time.monotonic() + 60
        while one.lag()["commit"] < first + 8:
            assert time.monotonic() < until, one.lag()
            goes_on(ledger, 1)
        db.kill()
        one.await_shipped()

    marks: list[int] = []
    ledger = written(one, kind, kill)
    one.lose(disk=True)
    number = lose_a_record(two, volume)
    with pytest.raises(KedgeError):
        two.attach(volume, 2)
    two.lose(disk=False)
    image = home / "left.img"
    with image.open("wb") as file:
        done = two.backend.export_damaged(volume, None, file, lambda done, total: None)
    assert any(f"record {number}" in words for words in done.lost), done
    claim = Claim(volume.uuid, "two", "session-of-two", 3)
    cut = two.backend.cut(volume, number, created="2026-02-03T04:05:06Z", claim=claim)
    assert (cut.before, cut.kept) == (number, f"cut-{number}")
    found = rows_on(two.attach(volume, 4), kind)
    print(f"{ledger.acknowledged} rows confirmed, {marks[0]} before the checkpoint, {found} left")
    assert marks[0] <= found <= ledger.acknowledged
    two.detach()
    place = home / "left"
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        assert rows_on(place / "data", kind) == found
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    kept = home / "kept.img"
    with kept.open("wb") as file:
        two.backend.export(volume, cut.kept, file, lambda done, total: None)
    assert kept.stat().st_size == image.stat().st_size


def lose_a_record(node: Node, volume: Volume[Any]) -> int:
    """Delete the one in the middle of those behind the checkpoint; which it was."""
    disks = node.backend._disks
    last = disks.heads.read(volume.uuid).checkpoint_seq
    listed = disks.store.list(f"disks/{volume.uuid}/log/")
    behind = [one.key for one in listed if int(one.key[-16:], 16) > last]
    assert len(behind) > 4, "everything is in the checkpoint"
    disks.store.delete(behind[len(behind) // 2])
    return int(behind[len(behind) // 2][-16:], 16)


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is deleted as soon as a checkpoint no longer needs it."""
    real: Callable[[Disks, Volume[Any], int], dict[str, object]] = Disks._arguments
    monkeypatch.setattr(
        Disks, "_arguments", lambda self, volume, claim: {**real(self, volume, claim), "grace": 0.0}
    )


@pytest.mark.usefixtures("collecting")
@meets(PostgreSQL)
def test_takeover_during_collection(
    server: ObjectStore, pair: list[Node], kind: type[Database]
) -> None:
    """The collector stands still between two deletions, another node takes the disk, writes and
    collects, too; then the first goes on."""
    one, two = pair
    volume = one.create(rpo="0.05")
    one.attach(volume, 1)
    died = [0.0]

    def kill(ledger: Ledger, db: Database) -> None:
        goes_on(ledger, 200)
        deleting(server, volume)
        one.pause()
        died[0] = time.monotonic()
        db.strike()

    ledger, struck = written_until_struck(one, kind, kill)
    place = two.attach(volume, 2)
    assert "taken over from node one" in two.lag()["taken_over"]
    with kind(place) as db:
        found = db.found()
        promised = ledger.before(died[0] - 0.05 - LATE)
        assert promised <= found <= ledger.acknowledged + 1
        with db.writing(Ledger(acknowledged=found)) as news:
            goes_on(news, 200)
            deleting(server, volume)
            for pid in one._paused:
                os.kill(pid, signal.SIGCONT)
            fenced(one)
            goes_on(news, 200)
            deleting(server, volume)
        assert db.found() >= news.acknowledged
        db.stop()
    one.lose(disk=False)
    struck.__exit__()
    two.detach()
    (whole,) = two.backend.fsck(volume, lambda done, total: None, attached=False)
    assert whole.level is Level.OK
    assert rows_on(two.attach(volume, 3), kind) >= news.acknowledged
    two.detach()


def written_until_struck(
    node: Node, kind: type[Database], kill: Callable[[Ledger, Database], None]
) -> tuple[Ledger, Database]:
    """As `written`, of a database whose processes cannot end before their disk answers."""
    db = kind(node.place)
    db.start()
    with db.writing() as ledger:
        goes_on(ledger)
        kill(ledger, db)
    return ledger, db


def deleting(server: ObjectStore, volume: Volume[Any]) -> None:
    """Return in the middle of deletions of the volume's objects."""

    def deletions() -> int:
        lines = server.access_log.read_text(errors="replace").splitlines()
        return sum("DELETE /" in line and f"disks/{volume.uuid}/" in line for line in lines)

    before, until = deletions(), time.monotonic() + 90
    while deletions() < before + 5:
        assert time.monotonic() < until, "nothing is collected"
        time.sleep(0.01)
