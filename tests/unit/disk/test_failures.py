"""Rows of the failure matrix (docs/s3-failures.md), each by its name, without a machine: nodes
that come back, and clocks. The others are in test_failures_*.py."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from backends.disk.core.tenure import Tenure
from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.errors import Fenced, Unavailable
from backends.stores.faulty import Faults
from backends.stores.s3 import S3Store
from tests.unit.disk.site import AWAY, SIZE, Site, read, shipped
from tests.unit.disk.world import BLOCKS, UUID, content, small_sizes

HOUR = 3600.0


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes():
        yield Site()


def collected(site: Site, disk: Disk) -> None:
    """The owner writes everything anew, many times, and collects all that it can."""
    before = {*site.keys("data"), *site.keys("log")}
    for stamp in range(100, 108):
        site.write(disk, 0, stamp, BLOCKS)
        shipped(disk)
        disk.tend(commits=1)
    assert before - site.bucket.objects.keys(), "nothing was collected: this would prove nothing"


@pytest.mark.parametrize("act", [Disk.ship, Disk.checkpoint, lambda disk: disk.tend(commits=1)])
def test_process_or_vm_paused_for_an_hour_then_resumed(
    site: Site, act: Callable[[Disk], object]
) -> None:
    """However much was written and collected meanwhile, the slot that it would write into is taken
    by a fence: it is fenced, and changes nothing."""
    paused = site.open(site.node("one"), 1)
    site.write(paused, 0, 1, 8)
    shipped(paused)
    site.write(paused, 0, 2, 8)
    owner = site.open(site.node("two"), 2)
    for _ in range(6):
        collected(site, owner)
        site.now += 600.0
    with pytest.raises(Fenced, match="two"):
        act(paused)
    with pytest.raises(Fenced):
        paused.flush()
    with pytest.raises(Fenced):
        paused.write(0, bytes(4096), 0)
    assert read(owner) == site.image == site.dumped()
    assert read(site.open(site.node("three"), 3)) == site.image


def test_process_or_vm_paused_for_an_hour_then_resumed_reads_nothing_stale(site: Site) -> None:
    """With strict reads: nothing that it cannot know to be still so. While it writes it is told by
    its records; otherwise it asks, once for as long as it may trust the answer; while the bucket is
    away its reads wait."""
    one = site.node("one")
    paused = site.open(one, 1, trust=3.0)
    site.asked.clear()
    for stamp in (1, 2, 3):
        site.write(paused, 0, stamp, 8)
        shipped(paused)
        site.now += 2.0
        assert paused.read(0, 4096) == content(stamp)
    assert heads_read(site) == 0, "its records have told it"
    for _ in range(40):
        site.now += 1.0
        assert read(paused) == site.image
    assert 10 <= heads_read(site) <= 14, "it asks more or less often than it has to"
    site.write(paused, 0, 4)  # nothing has to be fetched to read it
    site.now += 10.0
    one.way.faults, site.back, waited = AWAY, [(site.now + 60.0, one)], list[float]()
    site.meanwhile = lambda: waited.append(paused.parts.tenure.waits.longest)
    assert paused.read(0, 4096) == content(4)
    assert max(waited) > 40.0, "a read was answered while nobody could know"
    site.meanwhile, site.back = (lambda: None), []
    owner = site.open(site.node("two"), 2)
    site.write(owner, 0, 9, 8)
    shipped(owner)
    site.now += HOUR
    with pytest.raises(Fenced, match="two"):
        paused.read(0, 4096)
    with pytest.raises(Fenced):
        paused.write(0, bytes(4096), 0)
    assert read(owner) == site.image


def heads_read(site: Site) -> int:
    """How often the head was read since this was asked last; it may take several requests."""
    moments = {when for when, verb, key in site.asked if verb == "get" and "/disks/" in key}
    site.asked.clear()
    return len(moments)


def test_process_or_vm_paused_for_an_hour_then_resumed_and_a_late_answer_proves_little(
    site: Site,
) -> None:
    """A record that was accepted an hour before its answer came: it was ours then."""
    one = site.node("one")
    disk = site.open(one, 1, trust=3.0)
    site.write(disk, 0, 1)
    later: list[Disk] = []

    def others() -> None:
        if site.now > 600.0 and not later:
            later.append(site.open(site.node("two"), 2))
            later[0].write(0, content(9), 0)
            shipped(later[0])

    one.way.faults, site.back = Faults(lost_reply=1.0), [(HOUR, one)]
    site.meanwhile = others
    assert disk.ship(), "its record was there all the time"
    assert later
    with pytest.raises(Fenced, match="two"):
        disk.read(0, 4096)


def test_process_or_vm_paused_for_an_hour_then_resumed_by_whatever_clock() -> None:
    """Some clocks stand still while a machine sleeps, others are set: the one counts that has gone
    furthest, and one that is set back counts for nothing."""
    clocks, asked = [100.0, 5000.0], list[float]()
    tenure = Tenure(3.0, lambda: (clocks[0], clocks[1]))
    tenure.assure(lambda: asked.append(0))
    for step, wanted in (((1, 1), 1), ((0, 3600), 2), ((3600, 0), 3), ((1, -9e5), 3), ((2, 0), 4)):
        clocks[0], clocks[1] = clocks[0] + step[0], clocks[1] + step[1]
        tenure.assure(lambda: asked.append(0))
        assert len(asked) == wanted, step
    slow = iter([10.0, 0.0])

    def answer() -> None:
        clocks[0] += next(slow)

    clocks[0] += 100.0
    tenure.assure(answer)
    assert next(slow, None) is None, "an answer that is older than its trust is none"


def test_process_or_vm_paused_for_an_hour_then_resumed_and_one_asks_for_all() -> None:
    tenure, asking, asked = Tenure(3.0, lambda: (0.0,)), threading.Event(), list[int]()

    def ask() -> None:
        asked.append(1)
        assert asking.wait(60)

    readers = [threading.Thread(target=tenure.assure, args=(ask,)) for _ in range(8)]
    for one in readers:
        one.start()
    asking.set()
    for one in readers:
        one.join(60)
    assert asked == [1]


def test_old_node_returns_after_takeover(site: Site) -> None:
    """What it reads may be old until it has been told; what it confirms never is. What it had is
    kept, and told from what had been sent."""
    one = site.node("one")
    old = site.open(one, 1)
    site.write(old, 0, 1, 4)
    shipped(old)
    new = site.open(site.node("two"), 2)
    before = site.keys("log")
    old.write(0, content(9), 0)
    with pytest.raises(Fenced, match="written by node two"):
        old.ship()
    with pytest.raises(Fenced):
        old.flush()
    assert site.keys("log") == before
    assert read(new) == site.image
    new.close()
    site.heads.let_go(UUID, new.parts.journal.owner)
    site.open(one, 3).close()
    ((binding, files),) = one.kept
    assert binding.node == "one"
    assert content(9) in b"".join(files.read(name) for name in files.names())
    assert site.dumped() == site.image


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1e9])
def test_clock_skew_clock_step(site: Site, step: float) -> None:
    """Nodes whose clocks are years apart and jump: who has the disk, what is in it and what is
    collected is the same, for no clock of a node is compared with anything but itself."""
    clocks = {"one": [0.0], "two": [step], "three": [5e8]}

    def opened(name: str, claim: int) -> Disk:
        place = replace(site.place(site.node(name)), clock=lambda: clocks[name][0])
        return open_disk(place, UUID, claim=claim, terms=Terms(segment=56 * 1024, segments=8))

    for claim, name in enumerate(("one", "two", "three", "one"), 1):
        disk = opened(name, claim)
        assert disk.read(0, SIZE) == site.image
        for stamp in range(3):
            site.write(disk, claim + stamp, 10 * claim + stamp, 4)
            clocks[name][0] += step
            shipped(disk)
            disk.tend(commits=1)
        before = disk
    assert read(before) == site.image == site.dumped()
    assert not [one for one in site.check() if one.level.value == "error"]


def test_clock_skew_is_said_in_words() -> None:
    """A store refuses a signature of another time; that is no other 403."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    class Skewed:
        def get_object(self, **_: object) -> None:
            raise ClientError(
                {
                    "Error": {"Code": "RequestTimeTooSkewed", "Message": "too large"},
                    "ResponseMetadata": {"HTTPStatusCode": 403},
                },
                "GetObject",
            )

    with pytest.raises(Unavailable, match="this machine's clock differs too much"):
        S3Store(Skewed, "bucket").get("key")
