"""MariaDB and PostgreSQL on a volume in a bucket, while things die around them: one test for each
row of the failure matrix that a database can see, and bears its name.

Every row that a server confirmed is in a ledger. Afterwards the rows are 1, 2, 3, ... without a
gap, and as far as the volume's durability promises. Here each failure meets one of the databases;
with KEDGE_DATABASES=both (`make soak`) each meets both, and outages last for minutes.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.errors import Fenced
from tests.lab.databases import Database, Ledger, MariaDB, PostgreSQL
from tests.lab.object_store import ObjectStore
from tests.lab.proxy import Proxy
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import Node, nodes

__all__ = ["home", "server"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

BOTH = os.environ.get("KEDGE_DATABASES") == "both"
OUTAGE = float(os.environ.get("KEDGE_OUTAGE", "6"))
LOG = f"{max(128, int(16 * OUTAGE))}M"
"""A local log that an outage does not fill: a full one stops the database, as it has to."""
RPO = 1.0
LATE = 4.0
"""Seconds beyond `rpo` that a machine of two cores, which is also the store, may need to ship."""
PAUSE = 20.0
"""Seconds without a row that count as an error here: the pause itself is measured in bench/."""


def meets(kind: type[Database]) -> pytest.MarkDecorator:
    """The database that a failure meets in `make test`."""
    return pytest.mark.parametrize("kind", [MariaDB, PostgreSQL] if BOTH else [kind])


@pytest.fixture
def pair(server: ObjectStore, home: Path) -> Iterator[list[Node]]:
    with nodes(server, home, "one", "two") as made:
        yield made


def goes_on(ledger: Ledger, rows: int = 20) -> None:
    """Wait until so many more rows are confirmed."""
    wanted, until = ledger.acknowledged + rows, time.monotonic() + 60
    while ledger.acknowledged < wanted:
        assert time.monotonic() < until, f"stopped at row {ledger.acknowledged}"
        time.sleep(0.02)


def written(node: Node, kind: type[Database], kill: Callable[[Ledger, Database], None]) -> Ledger:
    """A database on the node's volume, killed together with whatever `kill` takes away while rows
    are being inserted."""
    with kind(node.place) as db, db.writing() as ledger:
        goes_on(ledger)
        kill(ledger, db)
    return ledger


def rows_on(place: Path, kind: type[Database]) -> int:
    """What a database finds when it is started on files that another one left."""
    with kind(place) as db:
        found = db.found()
        db.stop()
    return found


@meets(PostgreSQL)
def test_data_path_process_killed(pair: list[Node], kind: type[Database]) -> None:
    one, _ = pair
    one.attach(one.create(), 1)

    def kill(ledger: Ledger, db: Database) -> None:
        for _ in range(3):
            one.kill_server()
            goes_on(ledger)

    ledger = written(one, kind, kill)
    print(f"longest pause {ledger.longest:.3f} s")
    assert ledger.longest < PAUSE
    assert ledger.acknowledged <= rows_on(one.place, kind) <= ledger.acknowledged + 1
    assert one.path.call("status", seconds=10)["errors"] == 0
    one.detach()


@meets(MariaDB)
def test_supervisor_killed(server: ObjectStore, pair: list[Node], kind: type[Database]) -> None:
    """The holder, and the service: another process of it finds the pair again and adopts it."""
    one, _ = pair
    volume = one.create()
    one.attach(volume, 1)

    def kill(ledger: Ledger, db: Database) -> None:
        served = one.server()
        one.kill_holder()
        goes_on(ledger)
        again = Node(one.backend.settings, one.context.mounts.parent, "one")
        again.attach(volume, 1)
        assert again.server() == served, "the server was not adopted"
        again.kill_server()
        goes_on(ledger)

    ledger = written(one, kind, kill)
    assert ledger.acknowledged <= rows_on(one.place, kind) <= ledger.acknowledged + 1
    one.detach()


@meets(PostgreSQL)
def test_node_power_loss_comes_back_first(pair: list[Node], kind: type[Database]) -> None:
    """Its disk has what was flushed, and the bucket need not have it."""
    one, _ = pair
    volume = one.create(rpo="3600")
    one.attach(volume, 1)
    ledger = written(one, kind, lambda ledger, db: db.kill())
    assert one.lag()["bytes"] > 0, "everything is in the bucket: this would prove nothing"
    one.lose(disk=False)
    place = one.attach(volume, 2)
    assert ledger.acknowledged <= rows_on(place, kind) <= ledger.acknowledged + 1
    one.detach()


@pytest.mark.parametrize("durability", ["local", "store"])
@meets(MariaDB)
def test_node_lost_volume_up_elsewhere(
    pair: list[Node], kind: type[Database], durability: str
) -> None:
    one, two = pair
    volume = one.create(rpo=str(RPO), durability=durability)
    one.attach(volume, 1)
    died = [0.0]

    def kill(ledger: Ledger, db: Database) -> None:
        until = time.monotonic() + RPO + LATE + 1
        while time.monotonic() < until:
            goes_on(ledger, 1)
        os.kill(one.server(), 19)  # the node is gone before anything of the last moment is sent
        died[0] = time.monotonic()
        db.strike()
        one.lose(disk=True)

    ledger = written(one, kind, kill)
    found = rows_on(two.attach(volume, 2), kind)
    promised = ledger.before(died[0] - RPO - LATE)
    print(f"{ledger.acknowledged} rows confirmed, {found} found, {promised} promised")
    assert promised > 0
    assert found >= (ledger.acknowledged if durability == "store" else promised)
    assert found <= ledger.acknowledged + 1
    two.detach()


@pytest.mark.parametrize("durability", ["local", "store"])
@meets(PostgreSQL)
def test_partition_container_still_writing_and_old_node_returns_after_takeover(
    server: ObjectStore, home: Path, kind: type[Database], durability: str
) -> None:
    """With `store` nothing is confirmed while nothing gets through; with `local` the database goes
    on. The other node takes over meanwhile, and after the way is free again the old one can change
    nothing any more."""
    prefix = f"cut-{kind.__name__}-{durability}"
    with (
        way_to(server) as way,
        nodes(server, home, "one", url=way_url(way), prefix=prefix) as (one,),
        nodes(server, home, "two", prefix=prefix) as (two,),
    ):
        volume = one.create(durability=durability)
        one.attach(volume, 1)

        def kill(ledger: Ledger, db: Database) -> None:
            one.await_sent()  # the other's database is one that was begun
            way.stall()
            time.sleep(0.5)
            before = ledger.acknowledged
            time.sleep(1.5)
            if durability == "store":
                assert ledger.acknowledged - before <= 1, "confirmed what only this node has"
            else:
                goes_on(ledger)
            kept.append(before)
            with kind(two.attach(volume, 2)) as other:
                kept.append(other.found())
                with other.writing(Ledger(acknowledged=kept[1])) as news:
                    goes_on(news)
                    way.drop()
                    way.well()
                    fenced(one)
                    goes_on(news)
                other.kill()
                assert other_rows(other) >= news.acknowledged

        kept: list[int] = []

        def other_rows(other: Database) -> int:
            other.start()
            return other.found()

        written(one, kind, kill)
        if durability == "store":
            assert kept[1] >= kept[0]
        one.lose(disk=False)
        two.detach()


@meets(MariaDB)
def test_partition_container_still_writing_within_its_rpo_limit(
    server: ObjectStore, home: Path, kind: type[Database]
) -> None:
    """Cut off from the store, a database gets confirmations for as long as the limit says and then
    waits, without an error. What another node lacks of them was confirmed within that time."""
    prefix, limit = f"limit-{kind.__name__}", 8.0
    with (
        way_to(server) as way,
        nodes(server, home, "one", url=way_url(way), prefix=prefix) as (one,),
        nodes(server, home, "two", prefix=prefix) as (two,),
    ):
        volume = one.create(rpo_limit=str(limit))
        one.attach(volume, 1)

        def kill(ledger: Ledger, db: Database) -> None:
            one.await_sent()
            goes_on(ledger)
            way.stall()
            until = time.monotonic() + 60
            while one.lag()["flushes_wait"] < 3:
                assert time.monotonic() < until, one.lag()
                time.sleep(0.1)
            stopped = ledger.acknowledged
            time.sleep(2)
            assert ledger.acknowledged == stopped, "confirmed beyond the limit"
            found.append(rows_on(two.attach(volume, 2), kind))
            way.drop()
            way.well()
            fenced(one)
            assert ledger.acknowledged == stopped, "confirmed what a fenced node has written"

        found: list[int] = []
        ledger = written(one, kind, kill)
        lost = ledger.times[found[0] : ledger.acknowledged]
        span = lost[-1] - lost[0] if lost else 0.0
        print(f"{ledger.acknowledged} rows confirmed, {found[0]} found, within {span:.2f} s")
        assert limit / 2 < span <= limit + 1, "the limit is not what is lost"
        one.lose(disk=False)
        two.detach()


@meets(MariaDB)
def test_process_or_node_paused_then_resumed(pair: list[Node], kind: type[Database]) -> None:
    one, two = pair
    volume = one.create()
    one.attach(volume, 1)
    ledger = written(one, kind, lambda ledger, db: shipped_and_killed(one, db))
    stopped = one.pause()
    place = two.attach(volume, 2)
    found = rows_on(place, kind)
    assert ledger.acknowledged <= found <= ledger.acknowledged + 1
    for pid in stopped:
        os.kill(pid, 18)
    fenced(one)
    with kind(place) as db:
        assert db.found() == found
        db.stop()
    two.detach()


@pytest.mark.parametrize("reads", ["strict", "relaxed"])
def test_process_or_node_paused_then_resumed_reads_nothing_stale(
    pair: list[Node], reads: str
) -> None:
    """Past the kernel's cache: with `strict` an error, without it what was there before."""
    one, two = pair
    volume = one.create(reads=reads)
    one.attach(volume, 1)
    rewritten(one.place, b"a")
    one.await_sent()
    assert direct(one.place) == b"a"
    stopped = one.pause()
    rewritten(two.attach(volume, 2), b"b")
    two.await_sent()
    time.sleep(one.context.trust)
    for pid in stopped:
        os.kill(pid, 18)
    if reads == "strict":
        with pytest.raises(OSError, match="Input/output"):
            direct(one.place)
    else:
        assert direct(one.place) == b"a", "nothing stale is read: the other half proves nothing"
    assert direct(two.place) == b"b"
    one.lose(disk=False)
    two.detach()


def rewritten(place: Path, letter: bytes) -> None:
    """A file of 1 MiB of one letter, in place if it is there."""
    file = os.open(place / "letters", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(file, letter * (1 << 20), 0)
        os.fsync(file)
    finally:
        os.close(file)


def direct(place: Path) -> bytes:
    """Which letter stands there, past the kernel's cache."""
    file = os.open(place / "letters", os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 1 << 20) as buffer:
            assert os.preadv(file, [buffer], 0) == 1 << 20
            found = bytes(buffer)
    finally:
        os.close(file)
    assert found == found[:1] * len(found)
    return found[:1]


def shipped_and_killed(node: Node, db: Database) -> None:
    """The database dies, and after it everything it wrote reaches the bucket."""
    db.kill()
    node.await_shipped()


def fenced(node: Node) -> None:
    """The old owner finds out at its next commit, and from then on nothing is confirmed."""
    until = time.monotonic() + 60
    while True:
        try:
            file = os.open(node.place / "late", os.O_WRONLY | os.O_CREAT)
            try:
                os.write(file, b"too late")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            return
        assert time.monotonic() < until, f"a fenced node still confirms: {node.words()}"
        time.sleep(0.2)


def way_to(server: ObjectStore) -> Proxy:
    """The store, by a way that can be cut."""
    host, _, port = server.endpoint.url.removeprefix("http://").partition(":")
    return Proxy(host, int(port))


def way_url(way: Proxy) -> str:
    return f"http://127.0.0.1:{way.port}"


@meets(MariaDB)
def test_store_down(server: ObjectStore, home: Path, kind: type[Database]) -> None:
    """First it refuses, then it says nothing; the database notices neither, and afterwards all is
    in the bucket."""
    with way_to(server) as way, nodes(server, home, "one", "two", url=way_url(way)) as (one, two):
        volume = one.create(log=LOG)
        one.attach(volume, 1)

        def kill(ledger: Ledger, db: Database) -> None:
            for sick in (way.drop, way.stall):
                sick()
                until = time.monotonic() + OUTAGE / 2
                while time.monotonic() < until:
                    goes_on(ledger, 1)
                assert one.lag()["bytes"] > 0
                way.drop()  # what was stalled is over: nobody waits for its answer for ever
                way.well()
            goes_on(ledger)
            db.kill()
            one.await_shipped()

        ledger = written(one, kind, kill)
        assert ledger.longest < PAUSE
        one.lose(disk=True)
        found = rows_on(two.attach(volume, 2), kind)
        assert ledger.acknowledged <= found <= ledger.acknowledged + 1
        two.detach()


@meets(PostgreSQL)
def test_store_throttling(server: ObjectStore, home: Path, kind: type[Database]) -> None:
    """A slow and narrow way: the log fills up and the database waits, without an error."""
    with way_to(server) as way, nodes(server, home, "one", "two", url=way_url(way)) as (one, two):
        volume = one.create()
        one.attach(volume, 1)

        def kill(ledger: Ledger, db: Database) -> None:
            way.delay, way.rate = 0.05, 4 << 20
            until = time.monotonic() + OUTAGE
            while time.monotonic() < until:
                goes_on(ledger, 1)
            db.kill()
            way.well()
            one.await_shipped()

        ledger = written(one, kind, kill)
        one.lose(disk=True)
        found = rows_on(two.attach(volume, 2), kind)
        assert ledger.acknowledged <= found <= ledger.acknowledged + 1
        two.detach()


@meets(MariaDB)
def test_two_nodes_mount_at_once(pair: list[Node], kind: type[Database]) -> None:
    """The later claim wins, whoever was first; the other is refused, with the winner's name."""
    one, two = pair
    volume = one.create()
    one.attach(volume, 1)
    with kind(one.place) as db:
        db.stop()
    one.detach()
    two.attach(volume, 3)
    with pytest.raises(Fenced, match="two"):
        one.attach(volume, 2)
    assert rows_on(two.place, kind) == 0
    two.detach()


@meets(PostgreSQL)
def test_delete_while_mounted(pair: list[Node], kind: type[Database]) -> None:
    """The driver refuses that; with force, the node that has it is fenced and not obeyed."""
    one, two = pair
    volume = one.create()
    one.attach(volume, 1)
    with kind(one.place):
        two.backend.remove(volume)
        fenced(one)
