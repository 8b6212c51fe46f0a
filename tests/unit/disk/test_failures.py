"""Rows of the failure matrix (docs/s3-failures.md), each by its name, without a machine: nodes
that come back, and clocks. The others are in test_failures_*.py."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from backends.disk.engine import Disk
from backends.disk.opening import Terms, open_disk
from backends.errors import Fenced, Unavailable
from backends.stores.s3 import S3Store
from tests.unit.disk.site import SIZE, Site, read, shipped
from tests.unit.disk.world import BLOCKS, UUID, content, small_sizes


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
