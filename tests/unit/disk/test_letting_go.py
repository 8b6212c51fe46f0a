"""A disk that is broken is let go in time, also while its store is away: what it could not send
stays in its local log, and is sent when that is opened again, or kept as an orphan."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from unittest.mock import patch

import pytest

from backends.disk import remote
from backends.disk.engine import Durability
from backends.disk.pausing import Pause
from backends.disk.remote import RemoteDisk
from backends.disk.worker import Worker
from backends.errors import HostError, Unavailable
from backends.stores.faulty import Faults
from tests.unit.disk.site import AWAY, Node, Site, read
from tests.unit.disk.world import content, small_sizes

MOMENT, IN_TIME = 0.3, 30.0


class Idle:
    """Nothing is read ahead."""

    def end(self) -> None:
        pass

    def keep(self) -> None:
        pass

    def step(self) -> None:
        pass

    def reading(self, first: int, count: int) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes(), patch.object(remote, "LAST_SECONDS", MOMENT):
        yield Site()


def served(site: Site, node: Node) -> RemoteDisk:
    """A disk as its server has it, with a worker of its own that waits in real time."""
    pause = Pause()
    where = replace(site.place(node), wait=pause, store=node.way)
    with patch.object(site, "place", lambda node: where):
        disk = site.open(node, 1)
    found = RemoteDisk(disk.parts, durability=Durability.LOCAL, connection=0, clock=time.monotonic)
    found.heads, found.pause = where.heads, pause
    found.warming = found.scrubber = Idle()  # type: ignore[assignment]
    found.pools = (ThreadPoolExecutor(1),)
    found.opened = 0.0
    found.worker = Worker(found, rpo=0.01, clock=time.monotonic, complain=lambda *why: None)
    return found


def broken(site: Site, node: Node) -> RemoteDisk:
    """With a write that was confirmed, and neither is in the store nor can be sent."""
    disk = served(site, node)
    site.write(disk, 0, 1)
    disk.flush()
    node.way.faults = AWAY
    disk.worker.start()
    site.write(disk, 1, 2)
    node.files.fail_sync = True
    with pytest.raises(HostError):
        disk.flush()
    node.files.fail_sync = False
    return disk


def closed(disk: RemoteDisk) -> float:
    """How long it took."""
    began = time.monotonic()
    closing = threading.Thread(target=disk.close, daemon=True)
    closing.start()
    closing.join(IN_TIME)
    assert not closing.is_alive(), "it is not let go while the store is away"
    return time.monotonic() - began


def test_a_broken_disk_is_let_go_while_the_store_is_away(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    one = site.node("one")
    disk = broken(site, one)
    time.sleep(0.05)  # so that the worker waits for the store, wherever it does
    took = closed(disk)
    assert took >= MOMENT, "it had no time to send anything"
    assert "8192 bytes that never reached the store are kept in the local log" in (
        capsys.readouterr().err
    )
    disk.worker._thread.join(IN_TIME)
    assert not disk.worker._thread.is_alive(), "its thread goes on"
    one.way.faults = Faults()
    again = site.open(one, 1)
    assert read(again) == site.image
    again.flush()
    while again.ship():
        pass
    one.files.cut_power(random.Random(1))
    assert site.dumped() == site.image


def test_what_it_could_not_send_is_an_orphan_once_another_node_has_the_disk(site: Site) -> None:
    one = site.node("one")
    closed(broken(site, one))
    one.way.faults = Faults()
    two = site.open(site.node("two"), 2)
    assert two.parts.lost_after > 0
    assert read(two)[: 2 * 4096] == bytes(2 * 4096)
    two.close()
    assert site.open(one, 3).read(0, 4096) == bytes(4096)
    ((binding, files),) = one.kept
    assert binding.epoch >> 20 == 1
    assert any(content(2) in files.read(name) for name in files.names())


def test_one_whose_store_is_there_has_sent_everything_when_it_is_let_go(site: Site) -> None:
    one = site.node("one")
    disk = broken(site, one)
    one.way.faults = Faults()
    closed(disk)
    assert disk.dirty_since is None
    assert site.dumped() == site.image


def test_one_that_is_read_ahead_is_let_go(site: Site) -> None:
    """Whoever warms it waits for reads that are given up: he is not told, and nobody may wait for
    him."""
    disk = served(site, site.node("one"))
    disk.worker.start()
    reading, warming = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    disk.pools = (reading, warming)
    reading.submit(time.sleep, MOMENT)
    never = reading.submit(time.sleep, 0)
    warming.submit(wait, [never])
    closed(disk)
    never.set_running_or_notify_cancel()  # so that this process can end


def test_whoever_waits_is_told_that_it_is_over() -> None:
    pause, told = Pause(), threading.Event()

    def pauses() -> None:
        with pytest.raises(Unavailable, match="let go"):
            pause(10)
        told.set()

    waiting = threading.Thread(target=pauses)
    waiting.start()
    pause.give_up()
    waiting.join(IN_TIME)
    assert told.is_set()
