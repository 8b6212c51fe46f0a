"""An entry of the local log is one in the segment and at the place for which it was made: nothing
else that lies there is taken for one, neither what a tenant has written nor what is left of an
earlier life; and what was made as one is known, however little of what stands before it can be
read. Each of these, broken on purpose, is seen."""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest

from backends.disk.core.logformat import HEADER, Entry, Kind, Seal, SegmentHead, encode, overhead
from backends.disk.log.locallog import LocalLog, binding_of, new_log
from backends.errors import Damaged
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_locallog import BINDING, flush, segments, write
from tests.unit.disk.test_log_lives import OldLog

SEGMENT = "segment-0000000000000001"
SECOND = HEADER + overhead(1) + 4096
"""Where the second of two entries with one block begins."""
FORGED = Entry(2, Kind.DISCARD, 0, 1 << 30, 0, 7, synced=0)
WITNESS = FORGED._replace(seq=9, synced=8)


def found(files: MemoryFiles, boot: str = "boot") -> list[int]:
    binding = binding_of(files, "uuid")
    assert binding is not None
    return [entry.seq for entry in LocalLog(files, binding, 8).recover(boot=boot)]


def over_stale(stale: bytes, made: type[LocalLog] = LocalLog, at: int = SECOND) -> MemoryFiles:
    """A log with one entry, in a file that has been used before."""
    files = MemoryFiles()
    log = made(files, new_log(files, BINDING, 8).binding, 8)
    log.reserve()
    for name in files.names():
        if name.startswith("spare"):
            files.write(name, at, [stale])
    write(log, 1)
    return files


def seal_of(name: str = SEGMENT, boot: str = "boot") -> Seal:
    files = MemoryFiles()
    log = new_log(files, replace(BINDING, log=name, boot=boot), 8)
    write(log, 1)
    head = SegmentHead.decode(files.read(SEGMENT))
    assert head is not None
    return head.seal


def a_tenant_writes_no_entries() -> None:
    """He may know what an entry looks like, and that of another log to the last bit."""
    for seal in (Seal(), seal_of("another")):
        assert found(over_stale(encode(FORGED, seal, SECOND))) == [1]
        for at in (SECOND, SECOND + 5000):
            assert found(over_stale(encode(WITNESS, seal, at), at=at)) == [1]


def another_life_writes_none() -> None:
    """The same segment, before a power cut that took it away."""
    assert found(over_stale(encode(FORGED, seal_of(BINDING.log, "before"), SECOND))) == [1]


def another_place_has_none() -> None:
    """An entry of this very segment, carried somewhere else."""
    for step in (48, 52, 4096):
        stale = encode(FORGED, seal_of(BINDING.log), SECOND + step)
        assert found(over_stale(stale)) == [1]


def a_broken_head_is_told_from_a_torn_end() -> None:
    """Whatever of it is wrong: one behind it says that it had been synced."""
    for at in (0, 5, 8, 20, 36, 44, 50):
        files = MemoryFiles()
        log = new_log(files, BINDING, 8)
        write(log, 1)
        write(log, 2)
        flush(log)
        write(log, 3)
        files.files[SEGMENT].present[SECOND + at] ^= 1
        with pytest.raises(Damaged, match="entry 1, but entries up to 2 had been synced"):
            found(files, "another")


SEEN = (
    a_tenant_writes_no_entries,
    another_life_writes_none,
    another_place_has_none,
    a_broken_head_is_told_from_a_torn_end,
)


@pytest.mark.parametrize("seen", SEEN, ids=lambda one: one.__name__)
def test_an_entry_is_one_where_it_was_made(seen: Callable[[], None]) -> None:
    seen()


def test_what_was_made_for_this_place_is_an_entry() -> None:
    """Or the others would be about nothing. Version 1 took what a tenant had written for one."""
    assert found(over_stale(encode(FORGED, seal_of(BINDING.log), SECOND))) == [1, 2]
    assert found(over_stale(encode(FORGED, Seal(), SECOND), OldLog)) == [1, 2]


@pytest.mark.parametrize("length", [0, 100, 4096, 30000])
def test_what_is_behind_the_end_may_be_anything(length: int) -> None:
    stale = bytes(range(256)) * 200
    assert found(over_stale(stale[: length or 1], at=SECOND + length)) == [1]


def filled(files: MemoryFiles) -> LocalLog:
    """Three segments and a bit, nothing of it synced."""
    log = new_log(files, BINDING, 8)
    while len(segments(files)) < 3:
        write(log, 1)
    write(log, 1)
    return log


@pytest.mark.parametrize("boot", ["boot", "another"])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 20, 45, 50, 65])
def test_a_segment_whose_head_is_broken_is_not_taken_for_none(
    at: int, which: int, boot: str
) -> None:
    """Nor is it removed: somebody may still look at it."""
    files = MemoryFiles()
    log = filled(files)
    flush(log)
    write(log, 1)
    name = segments(files)[which]
    files.files[name].present[at] ^= 1
    before = {name: files.read(name) for name in files.names()}
    assert LocalLog(files, BINDING, 8).holds_unsent()
    assert {name: files.read(name) for name in files.names()} == before
    with pytest.raises(Damaged, match="broken behind entry"):
        found(files, boot)
    assert name in files.names()


def test_a_segment_whose_head_was_never_written_is_none() -> None:
    files = MemoryFiles()
    log = filled(files)
    flush(log)
    name = segments(files)[-1]
    files.write(name, 0, [bytes(HEADER)])
    files.write(name, HEADER, [bytes(range(256)) * 50])
    assert found(files, "another")[-1] == log.seq - 2
    assert name not in files.names()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "length", [HEADER, HEADER + 3, SECOND - 1, SECOND, SECOND + 2, SECOND + 60]
)
def test_a_file_that_is_cut_short_ends_there(length: int) -> None:
    files = MemoryFiles()
    log = new_log(files, BINDING, 8)
    for number in (1, 2, 3):
        write(log, number)
    files.put(SEGMENT, files.read(SEGMENT)[:length])
    assert found(files) == ([1] if length >= SECOND else [])


def the_same(head: SegmentHead) -> Seal:
    """One for all that was ever written."""
    return Seal(places=0xFFFFFFFF)


def the_same_in_each_life(head: SegmentHead) -> Seal:
    """One for each log."""
    return replace(head, salt=head.identity.to_bytes(16, "little")).unpatched  # type: ignore[attr-defined, no-any-return]


def anywhere(head: SegmentHead) -> Seal:
    """One for each segment, at all its places."""
    return head.unpatched._replace(places=1 << 40)  # type: ignore[attr-defined, no-any-return]


def unseen(head: SegmentHead) -> Seal:
    """What is behind the first that cannot be read is not looked at."""
    return head.unpatched._replace(places=0)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("mutant", "seen"),
    [
        (the_same, a_tenant_writes_no_entries),
        (the_same_in_each_life, another_life_writes_none),
        (anywhere, another_place_has_none),
        (unseen, a_broken_head_is_told_from_a_torn_end),
    ],
)
def test_what_ties_an_entry_is_needed(
    mutant: Callable[[SegmentHead], Seal], seen: Callable[[], None]
) -> None:
    with (
        patch.object(SegmentHead, "unpatched", SegmentHead.seal, create=True),
        patch.object(SegmentHead, "seal", property(mutant)),
        pytest.raises((AssertionError, pytest.fail.Exception)),
    ):
        seen()


def test_a_log_of_version_1_goes_on_in_a_segment_of_this_one() -> None:
    """An entry of one version never stands among those of the other."""
    files = MemoryFiles()
    write(OldLog(files, new_log(files, BINDING, 8).binding, 8), 1)
    binding = binding_of(files, "uuid")
    assert binding is not None
    for number in (2, 3):
        log = LocalLog(files, binding, 8)
        assert [entry.seq for entry in log.recover(boot="boot")] == list(range(1, number))
        write(log, number)
    heads = [SegmentHead.decode(files.read(name)) for name in segments(files)]
    assert [head.version for head in heads if head] == [1, 2]
    assert found(files) == [1, 2, 3]
