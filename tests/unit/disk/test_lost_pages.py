"""What was written and is gone from the local log, without an end of the session or with one, never
comes back, and nothing that follows is taken for it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from backends.disk.engine import Disk
from backends.disk.log.locallog import LocalLog, binding_of, new_log
from backends.errors import HostError
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.site import Node, Site, read, shipped
from tests.unit.disk.test_locallog import BINDING, write
from tests.unit.disk.world import content, small_sizes

SEGMENT = "segment-0000000000000001"


@pytest.fixture
def site() -> Iterator[Site]:
    with small_sizes():
        yield Site()


def started(files: MemoryFiles, boot: str) -> tuple[LocalLog, list[int]]:
    """As a server does it: what is there is found, and the log is its own."""
    binding = binding_of(files, "uuid")
    assert binding is not None
    log = LocalLog(files, binding, 8)
    found = [entry.seq for entry in log.recover(boot=boot)]
    log.rebind(replace(binding, boot=boot))
    return log, found


def test_one_that_was_killed_before_it_wrote_leaves_no_future_that_did_not_happen() -> None:
    """The third server begins where the second has ended, which has written nothing."""
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    lost = [write(log, number) for number in range(1, 6)][2]
    files.files[SEGMENT].present[lost.position % BINDING.segment] ^= 1
    assert started(files, "next")[1] == [1, 2]
    log, found = started(files, "next")
    assert found == [1, 2]
    write(log, 9)
    assert started(files, "next")[1] == [1, 2, 3]


def written(site: Site, node: Node) -> Disk:
    """A disk with a block that is flushed, and three that are not, of which the first is lost."""
    disk = site.open(node, 1)
    site.write(disk, 0, 1)
    disk.flush()
    for block in (1, 2, 3):
        disk.write(block * 4096, content(10 + block), 0)
    file = node.files.files[SEGMENT]
    for offset, body in file.pending[-2:]:
        file.durable[offset : offset + len(body)] = body
    return disk


def forget(node: Node) -> None:
    """The pages that were not written are gone."""
    for file in node.files.files.values():
        file.present, file.pending = bytearray(file.durable), []


@pytest.mark.parametrize("how", ["power cut", "failed sync", "the file system went away"])
def test_what_lay_behind_a_lost_write_never_happened(site: Site, how: str) -> None:
    """However often servers die afterwards, with and without having written."""
    one = site.node("one")
    disk = written(site, one)
    if how == "failed sync":
        one.files.fail_sync = True
        with pytest.raises(HostError):
            disk.flush()
        one.files.fail_sync = False
    forget(one)
    one.boot += how == "power cut"
    for block in (None, 5, None, 6, 7):
        disk = site.open(one, 1)
        assert read(disk) == site.image
        if block:
            site.write(disk, block, 20 + block)
            disk.flush()
    shipped(disk)
    assert site.dumped() == site.image


@pytest.mark.parametrize(("marked", "killed"), [(True, False), (True, True), (False, False)])
def test_a_late_record_of_what_is_lost_stands_for_nothing_else(
    site: Site, marked: bool, killed: bool
) -> None:
    """Its numbers have been given to other writes since, which were flushed. `marked`: the log
    knows that a sync has failed."""
    one = site.node("one")
    disk = site.open(one, 1)
    site.write(disk, 0, 1)
    disk.flush()
    shipped(disk)
    disk.write(0, content(2), 0)
    if marked:
        one.files.fail_sync = True
        with pytest.raises(HostError):
            disk.flush()
        one.files.fail_sync = False
        disk.rescue()
    else:
        disk.ship()
    record = site.keys("log")[-1]
    late = site.bucket.objects.pop(record)
    forget(one)
    again = site.open(one, 1)
    site.write(again, 4, 3)
    again.flush()
    site.bucket.objects.setdefault(record, late)
    if killed:
        again = site.open(one, 1)
    shipped(again)
    assert read(again)[4 * 4096 : 5 * 4096] == content(3)
