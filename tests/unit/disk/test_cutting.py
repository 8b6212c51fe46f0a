"""Going on without a record of the log that is lost, for good."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from backends.disk.core.coding import PLAIN
from backends.disk.core.commit import Commit, Kind
from backends.disk.core.head import Heads, State
from backends.disk.journal import Journal
from backends.disk.snapshots import cutting
from backends.disk.snapshots.cutting import Cutter
from backends.disk.snapshots.restoring import restore_disk
from backends.errors import Fenced, Invalid, KedgeError
from backends.inspection import Cut
from backends.stores.faulty import Crash
from tests.unit.disk.site import Node, Site, read, shipped
from tests.unit.disk.test_failures_owners import Stopping, crash
from tests.unit.disk.world import BLOCKS, UUID, content, small_sizes


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_sizes():
        yield


class Hurt:
    """A disk that lacks the `number`-th of four records behind its checkpoint."""

    def __init__(self, number: int, *, corrupt: bool = False) -> None:
        self.site = site = Site()
        self.disk = site.open(site.node("one"), 1)
        site.write(self.disk, 0, 1, BLOCKS)
        shipped(self.disk)
        self.disk.checkpoint()
        self.images, kept = [], list(site.written)
        for place, stamp in enumerate((3, 4, 5, 6), 1):
            self.images.append(site.image)
            site.write(self.disk, 2 * stamp, stamp, 8)
            shipped(self.disk)
            if place != number:
                kept[2 * stamp : 2 * stamp + 8] = [stamp] * 8
        self.all = b"".join(content(stamp) for stamp in kept)
        last = site.heads.read(UUID).checkpoint_seq
        self.lost = last + number
        (key,) = [key for key in site.keys("log") if int(key[-16:], 16) == self.lost]
        if corrupt:
            site.bucket.objects[key] = site.bucket.objects[key].replace(b"one", b"two")
        else:
            del site.bucket.objects[key]
        self.image = self.images[number - 1]

    def cut(self, node: Node | None = None, before: int = 0, claim: int = 2) -> Cut:
        place = self.site.place(node or self.site.node("two"))
        cutter = Cutter(
            *(place.store, place.heads, UUID, place.node, "2026-02-03T04:05:06Z"),
            *(place.new_id, lambda count: place.wait(count), PLAIN),
        )
        return cutter.cut(before or self.lost, claim=claim)


CASES = [(1, False), (2, False), (3, False), (1, True), (2, True), (3, True), (4, True)]
"""A log whose last record is gone looks like one that ends earlier: there is no (4, False)."""


@pytest.mark.parametrize(("number", "corrupt"), CASES)
def test_the_disk_goes_on_from_before_what_is_lost(number: int, corrupt: bool) -> None:
    """Whoever opens it finds that state and writes on; the old owner is refused; and what later
    records say is in a snapshot."""
    hurt = Hurt(number, corrupt=corrupt)
    site = hurt.site
    done = hurt.cut()
    kept = f"cut-{hurt.lost}" if number < 4 else ""
    assert done == Cut(hurt.lost, kept, (hurt.lost,))
    assert site.heads.read(UUID).state is State.DETACHED
    site.write(hurt.disk, 0, 90)
    with pytest.raises(Fenced):
        hurt.disk.ship()
    new = site.open(site.node("three"), 3)
    assert read(new) == hurt.image == site.dumped()
    if kept:
        assert site.dumped(kept) == hurt.all
    for stamp in range(10, 14):
        new.write(stamp * 4096, content(stamp), 0)
        shipped(new)
        new.tend(commits=1)
    expected = hurt.image[: 10 * 4096] + b"".join(map(content, range(10, 14)))
    expected += hurt.image[14 * 4096 :]
    assert read(new) == expected == site.dumped()
    new.close()
    assert read(site.open(site.node("four"), 4)) == expected
    assert not [one for one in site.check() if one.level.value == "error"]


@pytest.mark.parametrize("rounds", [0, 8])
def test_what_is_kept_outlives_collection_and_is_gone_back_to(rounds: int) -> None:
    """However much is written anew, collected and swept: it reads as at first. Gone back to, its
    objects and those that were made since are not taken for each other."""
    hurt = Hurt(2)
    site, kept = hurt.site, hurt.cut().kept
    new = site.open(site.node("three"), 3)
    for stamp in range(100, 100 + rounds):
        site.now += 2 * 86400.0
        site.write(new, 0, stamp, BLOCKS)
        shipped(new)
        new.parts.compactor._excess = 1.0
        new.compact()
        new.tend(commits=1)
    assert site.dumped(kept) == hurt.all
    new.close()
    place = site.place(site.node("four"))
    restore_disk(
        *(place.store, place.heads, UUID, kept),
        claim=4,
        node="four",
        new_id=place.new_id,
        wait=place.wait,
    )
    back = site.open(site.node("five"), 5)
    assert read(back) == hurt.all == site.dumped()
    for stamp in range(7, 12):
        back.write(0, content(stamp), 0)
        shipped(back)
        back.tend(commits=1)
    assert read(back) == content(11) + hurt.all[4096:] == site.dumped()
    assert site.dumped(kept) == hurt.all


def test_nothing_is_changed_unless_the_right_record_is_named() -> None:
    hurt = Hurt(2)
    before = dict(hurt.site.bucket.objects)
    for wrong in (hurt.lost - 1, hurt.lost + 1):
        with pytest.raises(Invalid, match=f"lacks is {hurt.lost}, not {wrong}"):
            hurt.cut(before=wrong)
    assert hurt.site.bucket.objects == before
    hurt.cut()
    before = dict(hurt.site.bucket.objects)
    with pytest.raises(Invalid, match="lacks no record"):
        hurt.cut(claim=3)
    assert hurt.site.bucket.objects == before


def test_a_log_that_was_mended_meanwhile_is_not_hurt() -> None:
    """Somebody who had the disk all the time makes a checkpoint behind the hole just before."""
    hurt = Hurt(2)
    hurt.site.write(hurt.disk, 0, 50)
    shipped(hurt.disk)
    real = Heads.take

    def take(*args: Any, **kwargs: Any) -> Any:
        if kwargs["node"] == "two":
            hurt.disk.checkpoint()
        return real(*args, **kwargs)

    with patch.object(Heads, "take", take), pytest.raises(Invalid, match="lacks no record"):
        hurt.cut()
    assert read(hurt.site.open(hurt.site.node("three"), 3)) == hurt.site.image


@pytest.mark.sim
@pytest.mark.parametrize("after", [False, True])
def test_a_cut_that_died_at_any_request_is_finished_by_the_next(after: bool) -> None:
    for at in itertools.count(1):
        hurt = Hurt(2)
        node = hurt.site.node("two")
        way = Stopping(hurt.site.bucket, hurt.site._chance, node.way.faults)
        node.way, way.at, way.after, way.happens = way, at, after, crash
        try:
            hurt.cut(node)
        except Crash:
            with suppress(Invalid):  # it was done already
                hurt.cut(claim=3)
            new = hurt.site.open(hurt.site.node("three"), 4)
            assert read(new) == hurt.image == hurt.site.dumped()
            assert hurt.site.dumped(f"cut-{hurt.lost}") == hurt.all
            hurt.site.write(hurt.disk, 0, 90)
            with pytest.raises(Fenced):
                hurt.disk.ship()
            continue
        assert at > 10
        return


def cuts_make_no_fence() -> Any:
    """The new history begins behind the old one, which its writer goes on with."""

    def fence(self: Cutter, view: Journal) -> Commit:
        seq = max(view.behind()) + 1
        owner = view.owner
        args = (owner.epoch, owner.session, bytes(16), bytes(32), self.uuid, self.node)
        return Commit(seq, Kind.FENCE, *args)

    return patch.object(Cutter, "_fence", fence)


def cuts_stand_in_the_gap() -> Any:
    """The fence is made where the record is missing: behind it stand those of the old history."""
    return patch.object(Journal, "behind", lambda self: ())


def numbers_of_objects_repeat() -> Any:
    """What is made after a cut is counted as if the later records had made nothing."""
    return patch.object(cutting, "_count_on", lambda past, later: None)


Seen = Callable[[], None]


@pytest.mark.parametrize(
    ("mutant", "seen_by"),
    [
        (cuts_make_no_fence, lambda: test_the_disk_goes_on_from_before_what_is_lost(2, False)),
        (
            numbers_of_objects_repeat,
            lambda: test_what_is_kept_outlives_collection_and_is_gone_back_to(0),
        ),
        (cuts_stand_in_the_gap, lambda: test_the_disk_goes_on_from_before_what_is_lost(2, False)),
    ],
)
def test_every_broken_rule_is_seen(mutant: Callable[[], Any], seen_by: Seen) -> None:
    failed = (AssertionError, KedgeError, ValueError, KeyError, pytest.fail.Exception)
    with mutant(), pytest.raises(failed):
        seen_by()
