"""Rows of the failure matrix (docs/s3-failures.md): the bucket holds what was not put there."""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from backends.base import Level
from backends.disk.core import pins
from backends.disk.core.coding import PLAIN
from backends.disk.engine import Disk
from backends.disk.inspection.exporting import export
from backends.disk.inspection.peeking import peek
from backends.disk.inspection.salvaging import Unreadable, salvage
from backends.errors import Conflict, Damaged, KedgeError, NotFound, Unavailable
from backends.inspection import unwatched
from backends.records.store import StoreRecords
from backends.stores.faulty import FaultyStore
from backends.stores.memory import MemoryStore
from tests.unit.disk.site import Site, read, shipped
from tests.unit.disk.world import BLOCKS, UUID, content, small_sizes


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes():
        yield Site()


class Spoiling(FaultyStore):
    """Bodies of one key come wrong, until new connections were made so many times."""

    key, renewals, until, reads = "", 0, 1 << 30, 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._changed(key, super().get_range(key, start, length))

    def get(self, key: str) -> bytes:
        return self._changed(key, super().get(key))

    def renew(self) -> None:
        self.renewals += 1

    def _changed(self, key: str, body: bytes) -> bytes:
        if key != self.key or self.renewals >= self.until:
            return body
        self.reads += 1
        return body[:-1] + bytes([body[-1] ^ 1])


def filled(site: Site) -> tuple[Disk, Spoiling, list[str]]:
    """A disk with two data objects of eight blocks, and the way its node reads them."""
    one = site.node("one")
    way = one.way = Spoiling(site.bucket, site._chance, one.way.faults)
    disk = site.open(one, 1)
    for first, stamp in ((0, 1), (8, 2)):
        site.write(disk, first, stamp, 4)
        shipped(disk)
    return disk, way, site.keys("data")


def unreadable(disk: Disk) -> list[int]:
    """Blocks that are errors; whatever else is read is what was written, and never zeros."""
    bad = []
    for block in range(BLOCKS):
        try:
            found = disk.read(block * 4096, 4096)
        except Damaged:
            bad.append(block)
        else:
            wanted = 1 if block in range(4) else 2 if block in range(8, 12) else 0
            assert found == content(wanted), block
    return bad


def test_corrupt_or_short_object_on_its_way(site: Site) -> None:
    """Spoiled by the network, not in the bucket: read again, over other connections, it is right,
    and nobody is alarmed."""
    disk, way, (first, _) = filled(site)
    way.key, way.until = first, 2
    assert disk.read(0, 4 * 4096) == content(1) * 4
    assert way.renewals == 2
    assert disk.parts.reader.damaged == {}


@pytest.mark.parametrize("fault", ["corrupt", "short", "empty", "long"])
def test_corrupt_or_short_object(site: Site, fault: str) -> None:
    """An error for the blocks in it alone, after three more attempts; named for people; left where
    it is by collection and copying; the disk works on, and is whole when the object is."""
    disk, _, (first, _) = filled(site)
    right = site.bucket.objects[first]
    spoiled = {
        "corrupt": right[:-1] + bytes([right[-1] ^ 1]),
        "short": right[: len(right) // 2],
        "empty": b"",
        "long": b"x" + right,
    }
    site.bucket.objects[first] = spoiled[fault]
    bad = unreadable(disk)
    assert set(bad) <= set(range(4))
    assert bad
    assert any(first in words for words in disk.parts.reader.damaged)
    assert any(first in one.subject and one.level is Level.ERROR for one in site.check())
    site.write(disk, 8, 2, 4)
    site.written[0:4] = [1] * 4
    shipped(disk)
    disk.parts.compactor._excess = 1.0
    for _ in range(4):
        disk.compact()
        disk.tend(commits=1)
    assert site.bucket.objects[first] == spoiled[fault], "neither repaired by guessing nor deleted"
    assert unreadable(disk) == bad
    disk.flush()
    site.bucket.objects[first] = right
    assert unreadable(disk) == []
    assert site.dumped() == site.image


def test_missing_object(site: Site) -> None:
    """The same for a data object that is gone; with it back, the disk is whole."""
    disk, _, (first, _) = filled(site)
    right = site.bucket.objects.pop(first)
    assert unreadable(disk) == [0, 1, 2, 3]
    assert any(first in words for words in disk.parts.reader.damaged)
    assert any(first in one.subject and "missing" in one.detail for one in site.check())
    assert unreadable(site.open(site.node("two"), 2)) == [0, 1, 2, 3]
    site.bucket.objects[first] = right
    assert read(site.open(site.node("three"), 3)) == site.image


@pytest.mark.parametrize("number", [1, 2, 3])
def test_missing_object_of_the_log(site: Site, number: int) -> None:
    """A record that is gone from the middle is damage, not the end: nobody opens the disk, and no
    fence is made in the gap; a snapshot made before is still carried away."""
    disk, _, _ = filled(site)
    disk.pin(pins.snapshot("kept", "then", "call"))
    then = site.image
    for stamp in (3, 4, 5, 6):
        site.write(disk, 20, stamp)
        shipped(disk)
    behind = [
        key
        for key in site.keys("log")
        if int(key[-16:], 16) > site.heads.read(disk.parts.journal.uuid).checkpoint_seq
    ]
    lost = behind[number - 1]
    right = site.bucket.objects.pop(lost)
    before = dict(site.bucket.objects)
    with pytest.raises(Damaged, match=f"lacks log record {int(lost[-16:], 16)}"):
        site.open(site.node("two"), 2)
    assert {key for key in site.bucket.objects if "/log/" in key} == {
        k for k in before if "/log/" in k
    }
    assert site.dumped("kept") == then
    site.bucket.objects[lost] = right
    assert read(site.open(site.node("three"), 3)) == site.image


def salvaged(site: Site) -> tuple[bytes, list[str]]:
    """What `kedge export --damaged` writes, and says."""
    image, unreadable = io.BytesIO(), Unreadable()
    found = salvage(site.bucket, site.heads.read(UUID), PLAIN, lambda count: None)
    export(
        *(site.bucket, found.view, image, unwatched),
        wait=lambda count: None,
        unreadable=unreadable,
    )
    return image.getvalue(), [*found.lost(), *unreadable.lost()]


@pytest.mark.parametrize("fault", ["missing", "corrupt"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_missing_object_of_the_log_and_what_is_left(site: Site, number: int, fault: str) -> None:
    """The disk as it was before the record, whole; said are the record and how many come after it;
    and nothing in the bucket is changed by looking."""
    disk, _, _ = filled(site)
    disk.checkpoint()
    images = []
    for stamp in (3, 4, 5, 6):
        images.append(site.image)
        site.write(disk, stamp, stamp, 8)
        shipped(disk)
    assert salvaged(site) == (site.image, [])
    last = site.heads.read(UUID).checkpoint_seq
    lost = [key for key in site.keys("log") if int(key[-16:], 16) > last][number - 1]
    if fault == "missing":
        del site.bucket.objects[lost]
    else:
        site.bucket.objects[lost] = site.bucket.objects[lost].replace(b"one", b"two")
    before = dict(site.bucket.objects)
    image, (said,) = salvaged(site)
    assert image == images[number - 1]
    assert f"as it was before record {last + number}:" in said
    assert f"{4 - number} later records" in said
    assert site.bucket.objects == before


def test_missing_object_and_what_is_left(site: Site) -> None:
    """Zeros for its blocks alone, each range named; without being asked for that, an error."""
    filled(site)
    del site.bucket.objects[site.keys("data")[0]]
    image, said = salvaged(site)
    assert image == bytes(4 * 4096) + site.image[4 * 4096 :]
    assert "bytes 0 to 16383 could not be read and are zeros" in said
    view = peek(site.bucket, site.heads.read(UUID), PLAIN, lambda count: None)
    with pytest.raises((Damaged, NotFound)):
        export(site.bucket, view, io.BytesIO(), unwatched, wait=lambda count: None)


def test_missing_object_that_says_where_blocks_are_and_what_is_left(site: Site) -> None:
    disk, _, _ = filled(site)
    disk.checkpoint()
    region = next(key for key in site.keys("ckpt") if key.endswith("/00000000"))
    del site.bucket.objects[region]
    image, said = salvaged(site)
    assert image == bytes(16 * 4096) + site.image[16 * 4096 :]
    assert "bytes 0 to 65535 could not be read and are zeros" in said
    (manifest,) = [key for key in site.keys("ckpt") if key.endswith("manifest")]
    del site.bucket.objects[manifest]
    with pytest.raises(Damaged, match="lacks its object ckpt/"):
        salvaged(site)


def test_a_missing_checkpoint_is_missing_object_too(site: Site) -> None:
    disk, _, _ = filled(site)
    disk.checkpoint()
    (manifest,) = [key for key in site.keys("ckpt") if key.endswith("manifest")]
    del site.bucket.objects[manifest]
    with pytest.raises(Damaged, match="lacks its object ckpt/"):
        site.open(site.node("two"), 2)


Act = Callable[[Site, Disk], object]


def closing(site: Site, disk: Disk) -> None:
    disk.close()


def writing(site: Site, disk: Disk) -> None:
    site.write(disk, 0, 50)
    shipped(disk)
    disk.checkpoint()


@pytest.mark.parametrize("act", [writing, closing, lambda site, disk: disk.checkpoint()])
@pytest.mark.parametrize("taken", ["same owner", "earlier owner"])
def test_bucket_rolled_back_or_restored_from_a_backup(site: Site, act: Act, taken: str) -> None:
    """Put back as a whole while a node uses the disk: it finds out at its next checkpoint at the
    latest, says so, and confirms nothing more. Who mounts it then gets the old state, whole, or is
    told that records are missing; never a mixture."""
    first = site.open(site.node("zero"), 1)
    site.write(first, 0, 1, 4)
    shipped(first)
    first.checkpoint()
    backup, images = dict(site.bucket.objects), [site.image]
    disk = site.open(site.node("one"), 2)
    if taken == "same owner":
        site.write(disk, 0, 2, 4)
        shipped(disk)
        disk.checkpoint()
        backup, images = dict(site.bucket.objects), [site.image]
    for stamp in (3, 4):
        site.write(disk, 4, stamp, 8)
        shipped(disk)
        disk.checkpoint()
    site.write(disk, 20, 5)
    site.bucket.objects.clear()
    site.bucket.objects.update(backup)
    with pytest.raises(KedgeError) as found:
        act(site, disk)
    assert isinstance(found.value, Damaged)
    assert "was put back to an earlier state" in found.value.message
    with pytest.raises(Damaged):
        disk.flush()
    assert later(site) in [*images, b"lacks"]


def later(site: Site) -> bytes:
    """What the next node finds."""
    try:
        return read(site.open(site.node("two"), 3))
    except Damaged as error:
        return b"lacks" if "lacks" in error.message else b""


@pytest.mark.parametrize("claim", [2, 3])
def test_bucket_rolled_back_or_restored_from_a_backup_and_taken_by_another(
    site: Site, claim: int
) -> None:
    """Before who had it notices: records of two futures meet in one log. Neither is ever read as
    the other's: each owner reads what it wrote, or an error, and so does whoever comes after."""
    first = site.open(site.node("zero"), 1)
    site.write(first, 0, 1, 4)
    shipped(first)
    first.close()
    backup, before = dict(site.bucket.objects), site.image
    disk = site.open(site.node("one"), 2)
    for stamp in (3, 4, 5):
        site.write(disk, 4, stamp, 8)
        shipped(disk)
    site.bucket.objects.clear()
    site.bucket.objects.update(backup)
    site.written = [1] * 4 + [0] * (BLOCKS - 4)
    other = site.open(site.node("two"), claim)
    assert read(other) == before
    for stamp in range(10, 20):
        with suppress(KedgeError):
            disk.write(20 * 4096, content(99), 0)
            disk.ship()
        with suppress(KedgeError):
            other.write(0, content(stamp), 0)
            other.ship()
            site.written[0] = stamp
    with pytest.raises(KedgeError):
        disk.checkpoint()
    try:
        found = read(site.open(site.node("three"), 9))
    except Damaged as error:
        found = b"" if "lacks" in error.message or "chain" in error.message else b"?"
    assert found in (b"", site.image)


@pytest.mark.parametrize("remember", [False, True])
def test_bucket_rolled_back_or_restored_from_a_backup_with_claims_and_leases(
    remember: bool,
) -> None:
    """Their records: who wrote the last state is refused once, as one that somebody has changed or
    of which nothing is known; then all see the same again."""
    store = MemoryStore()
    records, others = (StoreRecords(store, remember=remember) for _ in range(2))
    last, backup = records.put("leases/a", b"0", expected=None), dict(store.objects)
    for number in range(1, 8):
        last = records.put("leases/a", b"%d" % number, expected=last.version)
        if number == 3:
            backup = dict(store.objects)
    assert others.get("leases/a") == last
    store.objects.clear()
    store.objects.update(backup)
    with pytest.raises((Conflict, Unavailable)):
        records.put("leases/a", b"new", expected=last.version)
    for number in range(3):
        found = records.get("leases/a")
        assert found is not None
        assert others.get("leases/a") == found
        assert found.value in (b"3", b"new", b"again")
        records.put("leases/a", b"again", expected=found.version)
        with pytest.raises(Conflict):
            others.put("leases/a", b"late %d" % number, expected=found.version)


def test_bucket_rolled_back_or_restored_from_a_backup_before_there_was_the_disk(site: Site) -> None:
    disk, _, _ = filled(site)
    site.bucket.objects.clear()
    with pytest.raises(NotFound):
        disk.checkpoint()
    with pytest.raises(NotFound):
        site.open(site.node("two"), 2)
