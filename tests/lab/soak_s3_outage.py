"""A store that is away for KEDGE_OUTAGE seconds in real time (an hour, if nothing else is said)
under a database: `make soak`.

Half of that it refuses, half of it says nothing. Almost all of the time nothing happens at all, so
these may run beside other tests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.errors import Unavailable
from tests.lab.databases import Ledger, MariaDB, PostgreSQL
from tests.lab.object_store import ObjectStore
from tests.lab.proxy import Proxy
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import Node, nodes
from tests.lab.soak_s3_databases import PAUSE, goes_on, rows_on, way_to, way_url

__all__ = ["home", "server"]

OUTAGE = float(os.environ.get("KEDGE_OUTAGE", "3600"))
pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * OUTAGE + 1800)]

STILL = min(60.0, OUTAGE / 4)
"""Seconds without a row after which a database stands still."""
CATCHING_UP = 600.0
"""Seconds in which all that waited has to be in the store."""


def away(way: Proxy, meanwhile: Callable[[int, float], None]) -> None:
    """The store is away: it refuses, and after half of the time it says nothing. `meanwhile` is
    called for each half, with the moment at which that ends."""
    for half, sick in enumerate((way.drop, way.stall)):
        sick()
        meanwhile(half, time.monotonic() + OUTAGE / 2)
    way.drop()  # what was taken without a word is over: nobody gets that answer
    way.well()


def waiting(node: Node) -> str:
    """What is only on this node, and for how long."""
    lag = node.lag()
    return f"{lag['bytes'] >> 10} KiB wait for {lag['seconds']:.0f} s"


def moved(one: Node, two: Node, kind: type[MariaDB] | type[PostgreSQL], ledger: Ledger) -> None:
    """The node is lost with its disk, and the other one has every row."""
    one.lose(disk=True)
    assert one.volume is not None
    found = rows_on(two.attach(one.volume, 9), kind)
    assert ledger.acknowledged <= found <= ledger.acknowledged + 1
    two.detach()


def test_store_down_for_an_hour_and_a_database_that_writes_little(
    server: ObjectStore, home: Path
) -> None:
    """A row a second: the local log never fills up, and the database notices nothing. What is in
    the cache is read, and no other node can take the volume."""
    with (
        way_to(server) as way,
        nodes(server, home, "one", "two", prefix="little", url=way_url(way)) as (one, two),
    ):
        volume = one.create(log="1G")
        place = one.attach(volume, 1)
        body = os.urandom(1 << 20)
        (place / "before").write_bytes(body)
        with MariaDB(place) as db, db.writing(pace=1.0) as ledger:
            one.await_sent(120)

            def goes_on_as_ever(half: int, until: float) -> None:
                with pytest.raises(Unavailable) as refused:
                    two.attach(volume, 2 + half)
                print(f"taking it over: {refused.value}")
                while time.monotonic() < until:
                    goes_on(ledger, 1)
                assert uncached(place / "before") == body
                print(f"row {ledger.acknowledged}, {waiting(one)}, pause {ledger.longest:.2f} s")
                assert one.lag()["seconds"] > (half + 1) * OUTAGE / 2 - 10

            away(way, goes_on_as_ever)
            goes_on(ledger, 3)
            db.kill()
            print(f"all of it sent {one.await_shipped(CATCHING_UP):.1f} s later")
        assert ledger.longest < PAUSE
        assert one.path.call("status", seconds=10)["errors"] == 0
        moved(one, two, MariaDB, ledger)


def uncached(path: Path) -> bytes:
    """What is in a file, by the disk and not by the kernel's memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def test_store_down_for_an_hour_and_a_database_that_fills_the_log(
    server: ObjectStore, home: Path
) -> None:
    """It writes as fast as it can until the local log is full; then it stands still, for the rest
    of the hour, and goes on where it was: the client that waited gets its answer."""
    with (
        way_to(server) as way,
        nodes(server, home, "one", "two", prefix="full", url=way_url(way)) as (one, two),
    ):
        volume = one.create(log="128M")
        with PostgreSQL(one.attach(volume, 1)) as db, db.writing() as ledger:
            one.await_sent(120)

            def fills_up(half: int, until: float) -> None:
                while time.monotonic() < until:
                    time.sleep(1)
                print(f"row {ledger.acknowledged}, still for {still():.0f} s, {waiting(one)}")
                assert still() > STILL or not half, "the log was never full: this proves nothing"

            def still() -> float:
                return time.monotonic() - ledger.times[-1]

            away(way, fills_up)
            row = ledger.acknowledged
            goes_on(ledger, 50)
            print(f"went on behind row {row} after {ledger.longest:.0f} s")
            assert ledger.longest > STILL
            db.kill()
            one.await_shipped(CATCHING_UP)
        assert one.path.call("status", seconds=10)["errors"] == 0
        moved(one, two, PostgreSQL, ledger)
