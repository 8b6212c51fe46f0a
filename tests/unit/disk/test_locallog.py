"""The local log alone: what comes back after kills, power cuts and damage."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from backends.disk.core.logformat import HEADER, Entry, Kind, overhead
from backends.disk.core.pages import STEP, Pages
from backends.disk.log.locallog import LEAST, Binding, Files, LocalLog, binding_of, new_log
from backends.disk.log.logfiles import LogFiles
from backends.errors import Damaged, HostError
from tests.unit.disk.memory_files import MemoryFiles

BINDING = Binding("uuid", "log", 1, "00" * 16, "node", "boot", 64 * 1024)


def block(number: int, count: int = 1) -> bytes:
    return bytes([number % 256]) * 4096 * count


def write(log: LocalLog, number: int, count: int = 1) -> Entry:
    return log.append(Kind.WRITE, number * 4096, block(number, count), number, 7)


def flush(log: LocalLog) -> None:
    work = log.begin_sync()
    log.sync(work)
    log.end_sync(work)


def reopened(files: Files, upto: int = 0) -> tuple[LocalLog, list[Entry]]:
    binding = binding_of(files, "uuid")
    assert binding is not None
    log = LocalLog(files, binding, 8)
    return log, log.recover(upto)


def with_a_failed_sync(files: MemoryFiles) -> LocalLog:
    log = new_log(files, BINDING, 8)
    write(log, 1)
    files.fail_sync = True
    with pytest.raises(HostError):
        flush(log)
    files.fail_sync = False
    return log


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else LogFiles(tmp_path / "log")


def test_a_killed_process_loses_nothing(files: Files) -> None:
    log = new_log(files, BINDING, 8)
    for number in range(1, 40):
        write(log, number)
    log.append(Kind.DISCARD, 0, 8192, 0, 7)
    again, entries = reopened(files)
    assert [entry.seq for entry in entries] == list(range(1, 41))
    assert [entry.offset for entry in entries[:39]] == [4096 * n for n in range(1, 40)]
    assert all(again.read(e.position, 4096) == block(e.offset // 4096) for e in entries[:39])
    assert (entries[-1].kind, entries[-1].length) == (Kind.DISCARD, 8192)
    assert {entry.unique for entry in entries[:39]} == set(range(1, 40))


def test_entries_go_on_behind_what_was_found(files: Files) -> None:
    write(new_log(files, BINDING, 8), 1)
    write(reopened(files)[0], 2)
    assert [entry.seq for entry in reopened(files)[1]] == [1, 2]


def segments(files: Files) -> list[str]:
    return [name for name in files.names() if name.startswith("segment")]


def restarted(files: Files, boot: str = "boot") -> tuple[LocalLog, list[Entry]]:
    binding = binding_of(files, "uuid")
    assert binding is not None
    log = LocalLog(files, binding, 8)
    return log, log.recover(boot=boot)


def test_processes_that_die_one_after_the_other_share_a_segment(files: Files) -> None:
    """Or a server that dies each second would have filled its log after eight."""
    write(new_log(files, BINDING, 8), 1)
    for number in range(2, 12):
        log, entries = restarted(files)
        assert [entry.seq for entry in entries] == list(range(1, number))
        assert log.room(4096)
        write(log, number)
    assert len(segments(files)) == 1
    log, entries = restarted(files)
    assert all(log.read(e.position, 4096) == block(e.offset // 4096) for e in entries)


def test_after_a_power_cut_a_log_goes_on_in_a_new_segment(files: Files) -> None:
    """Behind the end may lie whole entries that were written later than one that is lost."""
    write(new_log(files, BINDING, 8), 1)
    write(restarted(files, "another")[0], 2)
    assert len(segments(files)) == 2
    assert [entry.seq for entry in restarted(files)[1]] == [1, 2]


def test_after_a_failed_sync_a_log_goes_on_in_a_new_segment() -> None:
    files = MemoryFiles()
    with_a_failed_sync(files)
    write(restarted(files)[0], 2)
    assert len(segments(files)) == 2


@pytest.mark.parametrize("kept", [1, 40, 56, 57, 64, 2000, 4151])
def test_the_entry_a_killed_process_was_writing_leaves_nothing_behind(
    files: Files, kept: int
) -> None:
    """However much of it was written: its number is given to the next one, here a shorter one,
    which leaves the rest of the torn one's bytes behind its own end."""
    log = new_log(files, BINDING, 8)
    start = write(log, 1).end % BINDING.segment
    write(log, 2, 3)
    files.write(segments(files)[0], start + kept, [b"o" * 4 * 4096])
    log, entries = restarted(files)
    assert [entry.seq for entry in entries] == [1]
    log.append(Kind.DISCARD, 8192, 4096, 5, 7)
    for upto in (0, 2, 3):
        again = LocalLog(files, BINDING, 8)
        found = again.recover(upto, boot="boot")
        assert [(entry.seq, entry.kind) for entry in found] == [(1, Kind.WRITE), (2, Kind.DISCARD)]


def test_released_segments_are_used_again(files: Files) -> None:
    log = new_log(files, BINDING, 4)
    for number in range(1, 200):
        assert log.room(4096)
        log.release(write(log, number).seq)
    assert len([name for name in files.names() if name.startswith("segment")]) <= 4
    entries = reopened(files, upto=199)[1]
    assert entries[-1].seq == 199
    assert [entry.seq for entry in entries] == list(range(entries[0].seq, 200))


@pytest.mark.parametrize("upto", [0, 1, 13, 14, 15, 60, 99])
def test_whatever_is_not_in_the_store_is_found_again(upto: int) -> None:
    """However much is; and what is in it alone is not read once more."""
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    for number in range(1, 101):
        assert log.room(4096)
        write(log, number)
    again, entries = reopened(files, upto)
    assert [entry.seq for entry in entries if entry.seq > upto] == list(range(upto + 1, 101))
    assert [entry.seq for entry in entries] == list(range(entries[0].seq, 101))
    assert {entry.unique for entry in entries} >= set(range(90, 101))
    assert again.room(4096) is (upto > 13), "a segment is used again when all of it is in the store"


def test_segments_of_what_is_in_the_store_are_not_read() -> None:
    """A server that takes over has to be quick."""

    class Counted(MemoryFiles):
        looked_at: ClassVar[set[str]] = set()

        def pread(self, name: str, offset: int, length: int) -> bytes:
            if length > HEADER:
                self.looked_at.add(name)
            return super().pread(name, offset, length)

    files = Counted()
    log = new_log(files, BINDING, 8)
    for number in range(1, 101):
        assert log.room(4096)
        write(log, number)
    reopened(files, upto=99)
    assert len(files.looked_at) == 2


def test_only_what_is_looked_at_is_read() -> None:
    read: list[int] = []

    def some(offset: int, length: int) -> bytes:
        read.append(offset)
        return bytes(body[offset : offset + length])

    body = bytes(range(256)) * 10_000
    pages = Pages(some, len(body))
    assert len(pages) == len(body)
    assert pages[10:20] == body[10:20]
    assert pages[STEP - 5 : STEP + 5] == body[STEP - 5 : STEP + 5]
    assert read == [10]
    assert pages[STEP : STEP + 20] == body[STEP : STEP + 20]
    assert read == [10, STEP]
    assert pages[len(body) - 3 : len(body) + 3] == body[-3:]
    assert pages[len(body) + 3 : len(body) + 9] == b""
    assert pages[10:20] == body[10:20]
    assert pages[0 : 3 * STEP] == body[: 3 * STEP]


def test_torn_data_that_are_in_the_store_do_not_end_the_log() -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    first = write(log, 1)
    write(log, 2)
    files.files["segment-0000000000000001"].present[first.position % BINDING.segment + 9] ^= 1
    assert [entry.seq for entry in reopened(files, upto=1)[1]] == [1, 2]


def test_a_future_that_did_not_happen_never_does() -> None:
    """Two power cuts: the first tears entry 4 before 5, the second loses the new 4, which had been
    sent to the store."""
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    torn = [write(log, number) for number in range(1, 6)][3]
    files.files["segment-0000000000000001"].present[torn.position % BINDING.segment + 9] ^= 1
    again, entries = reopened(files)
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert write(again, 9).seq == 4
    for name in set(files.files) - {"segment-0000000000000001", "binding.json"}:
        files.remove(name)
    assert 5 not in [entry.seq for entry in reopened(files, upto=4)[1]]


def test_a_full_log_has_no_room(files: Files) -> None:
    log = new_log(files, BINDING, 3)
    while log.room(4096):
        write(log, 1)
    log.release(log.seq)
    assert log.room(4096)


def test_local_disk_full_is_a_log_that_is_full() -> None:
    """The row of the failure matrix: no error, and room again once something was shipped."""
    files = MemoryFiles()
    log = new_log(files, BINDING, 100)
    log.reserve()
    files.full = True
    for number in range(1, 500):
        if not log.room(4096):
            log.release(log.seq)
        assert log.room(4096), "a full disk must not stop the log"
        write(log, number)
    assert len([name for name in files.names() if name.startswith("segment")]) == LEAST
    files.full = False
    while log.room(4096):
        write(log, 1)
    assert len([name for name in files.names() if name.startswith("segment")]) == 100


def test_local_disk_full_from_the_beginning_is_refused() -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 100)
    files.full = True
    with pytest.raises(HostError, match="no space"):
        log.reserve()


@pytest.mark.parametrize("seed", range(60))
def test_a_power_cut_leaves_a_prefix_with_all_that_was_flushed(seed: int) -> None:
    chance, files = random.Random(seed), MemoryFiles()
    log, flushed, number = new_log(files, BINDING, 8), 0, 0
    for _ in range(3):
        for _ in range(chance.randrange(1, 15)):
            number += 1
            write(log, number)
            if chance.random() < 0.2:
                flush(log)
                flushed = number
        files.cut_power(chance)
        log, entries = reopened(files)
        number = len(entries)
        assert [entry.seq for entry in entries] == list(range(1, number + 1))
        assert number >= flushed
        flushed = number


@pytest.mark.parametrize("seed", range(20))
def test_what_was_found_after_a_kill_survives_a_power_cut(seed: int) -> None:
    chance, files = random.Random(seed), MemoryFiles()
    log = new_log(files, BINDING, 8)
    for number in range(1, 20):
        write(log, number)
    reopened(files)
    files.cut_power(chance)
    assert len(reopened(files)[1]) == 19


def test_damage_before_the_end_is_no_torn_end() -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    first = write(log, 1)
    write(log, 2)
    flush(log)
    write(log, 3)
    place = first.position % BINDING.segment + 100
    files.files["segment-0000000000000001"].present[place] ^= 1
    with pytest.raises(Damaged, match="had been synced"):
        reopened(files)


def test_a_torn_end_is_none(files: Files) -> None:
    log = new_log(files, BINDING, 8)
    write(log, 1)
    last = write(log, 2)
    files.write("segment-0000000000000001", last.position % BINDING.segment, [b"torn"])
    assert [entry.seq for entry in reopened(files)[1]] == [1]


def test_after_a_failed_sync_nothing_is_acknowledged() -> None:
    files = MemoryFiles()
    log = with_a_failed_sync(files)
    with pytest.raises(HostError, match="nothing is acknowledged"):
        flush(log)
    with pytest.raises(HostError, match="nothing is acknowledged"):
        write(log, 2)


def test_the_log_of_another_disk_is_refused(files: Files) -> None:
    new_log(files, BINDING, 8)
    with pytest.raises(Damaged, match="is that of uuid"):
        binding_of(files, "other")


@pytest.mark.parametrize("kept", [1, 47, 52, 60, 4000, 4151, 4152])
@pytest.mark.parametrize("before", [1, 13, 14, 20])
def test_a_torn_end_is_nothing_that_is_not_sent(files: Files, before: int, kept: int) -> None:
    """Of the entry that was being written when its server died nobody was told."""
    log = new_log(files, BINDING, 8)
    for number in range(1, before + 1):
        assert log.room(4096)
        write(log, number)
    log.release(before)
    assert not log.holds_unsent()
    torn = write(log, 99)
    assert log.holds_unsent()
    whole = overhead(1) + 4096
    start = torn.end % BINDING.segment - whole
    files.write(segments(files)[-1], start + kept, [bytes(whole - kept)])
    assert log.holds_unsent() is (kept == whole)
    assert bool([e for e in reopened(files, before)[1] if e.seq > before]) is (kept == whole)


def test_damage_is_something_that_may_not_be_sent() -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    first = write(log, 1)
    write(log, 2)
    flush(log)
    write(log, 3)
    files.files[segments(files)[0]].present[first.position % BINDING.segment] ^= 1
    assert log.holds_unsent()
    assert not log.holds_unsent(3)


def test_a_lost_first_segment_is_no_reason_to_begin_with_the_second() -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    while len(files.names()) < 3:
        write(log, 1)
    files.remove("segment-0000000000000001")
    assert reopened(files)[1] == []


class Exhausted(MemoryFiles):
    """Whose next sync fails as nobody foresaw."""

    tired = False

    def sync(self, names: Sequence[str], *, directory: bool = False) -> None:
        if self.tired:
            self.tired = False
            raise MemoryError
        super().sync(names, directory=directory)


def test_after_a_sync_that_failed_in_any_way_nothing_is_believed() -> None:
    """It had been told which files to sync; the next one would leave them out, and succeed."""
    files = Exhausted()
    log = new_log(files, BINDING, 8)
    write(log, 1)
    files.tired = True
    with pytest.raises(MemoryError):
        flush(log)
    with pytest.raises(HostError, match="nothing is acknowledged any more"):
        flush(log)
    assert log.synced == 0
