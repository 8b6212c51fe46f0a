"""Local logs as released versions left them, in every state in which a server can leave one. A
server of this version finds in them what was written, goes on writing, and finds both again.

`python -m tests.unit.disk.test_golden_logs` writes files that are missing, and replaces none.
"""

import base64
import json
import lzma
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.disk.core.logformat import VERSION, Entry, Kind, overhead
from backends.disk.log.locallog import Files, LocalLog, binding_of, new_log
from backends.disk.log.logfiles import LogFiles
from backends.errors import Damaged, HostError
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_locallog import BINDING, flush, segments

HERE = Path(__file__).parent / "golden"
LIMIT = 8


def content(unique: int, length: int) -> bytes:
    return bytes([unique % 251 + 1]) * length


class Written:
    """A log, and what was written into it: [kind, offset, length, unique]."""

    def __init__(self) -> None:
        self.files, self.entries, self.sent, self.broken = MemoryFiles(), list[list[int]](), 0, ""
        self.log = new_log(self.files, BINDING, LIMIT)
        self.log.reserve()

    def some(self, count: int) -> None:
        for _ in range(count):
            unique = len(self.entries) + 1
            kind = Kind.DISCARD if unique % 9 == 0 else Kind.WRITE
            length = 4096 * (1 + unique % 4)
            body = length if kind is Kind.DISCARD else content(unique, length)
            assert self.log.room(length)
            self.log.append(kind, 4096 * unique, body, unique, 7)
            self.entries.append([kind, 4096 * unique, length, unique])

    def ship(self, upto: int) -> None:
        self.sent = upto
        self.log.release(upto)

    def again(self, boot: str = "boot") -> None:
        """Another server finds the log."""
        self.log = LocalLog(self.files, self.log.binding, LIMIT)
        self.log.recover(self.sent, boot=boot)
        del self.entries[self.log.seq :]
        self.log.rebind(replace(self.log.binding, boot=boot))
        self.log.release(self.sent)
        self.log.reserve()

    def torn(self, kept: int) -> None:
        """The next entry was begun only: so many bytes of it are there."""
        before = {name: self.files.read(name) for name in segments(self.files)}
        self.some(1)
        self.entries.pop()
        name = segments(self.files)[-1]
        start = 4096 + sum(overhead(n // 4096) + n for n in self._lengths_in(name))
        new = self.files.read(name)[start:]
        old = before.get(name, bytes(BINDING.segment))[start:]
        assert new[kept : kept + 4096] != old[kept : kept + 4096]
        self.files.write(name, start + kept, [old[kept:]])

    def _lengths_in(self, name: str) -> list[int]:
        """Of the data of its entries, as they were written, but for the last."""
        (segment,) = [one for one in self.log._segments if one.name == name]
        mine = self.entries[segment.first - 1 : segment.last - 1]
        return [length if kind == Kind.WRITE else 0 for kind, _, length, _ in mine]


def killed() -> Written:
    """Two segments and a half, of which some is sent; the last entry is torn, in its data."""
    made = Written()
    made.some(25)
    flush(made.log)
    made.ship(9)
    made.some(4)
    made.torn(1000)
    return made


def killed_twice() -> Written:
    """Servers that died one after the other share a segment; the last entry is torn in its head."""
    made = Written()
    made.some(3)
    made.again()
    made.some(2)
    made.again()
    made.some(1)
    made.torn(20)
    return made


def cut() -> Written:
    """The power was cut, a server wrote on, and the power was cut again."""
    made, chance = Written(), random.Random(5)
    made.some(20)
    flush(made.log)
    made.some(5)
    made.files.cut_power(chance)
    made.again("next")
    made.some(6)
    flush(made.log)
    made.some(2)
    made.files.cut_power(chance)
    return made


def used_again() -> Written:
    """Segments were used again: behind the end are entries that were sent long ago."""
    made = Written()
    for _ in range(30):
        made.some(4)
        made.ship(len(made.entries))
    made.some(3)
    return made


def all_sent() -> Written:
    """Nothing of it is missing in the store."""
    made = Written()
    made.some(20)
    made.ship(20)
    return made


def failed() -> Written:
    """A sync had failed."""
    made = Written()
    made.some(3)
    flush(made.log)
    made.some(1)
    made.files.fail_sync = True
    with pytest.raises(HostError):
        flush(made.log)
    made.files.fail_sync = False
    return made


def broken() -> Written:
    """A block of an entry is wrong, and a later one says that it had been synced."""
    made = Written()
    made.some(4)
    flush(made.log)
    made.some(2)
    name = segments(made.files)[0]
    made.files.write(name, 4096 + 300, [b"wrong"])
    made.broken = "had been synced"
    return made


CASES: dict[str, Callable[[], Written]] = {
    "killed": killed,
    "killed-twice": killed_twice,
    "cut": cut,
    "used-again": used_again,
    "all-sent": all_sent,
    "failed": failed,
    "broken": broken,
}
VERSIONS = range(1, VERSION + 1)
NAMES = [f"log-{version}-{case}" for version in VERSIONS for case in CASES]


def stored(made: Written) -> bytes:
    files = made.files
    kept = {name: base64.b64encode(files.read(name)).decode() for name in files.names()}
    if not made.broken:
        made.again("to see what is there")
    told = {
        "files": kept,
        "entries": made.entries,
        "sent": made.sent,
        "broken": made.broken,
    }
    return lzma.compress(json.dumps(told).encode(), preset=9)


def golden(name: str, files: Files) -> dict[str, Any]:
    """What there is to say about a log whose files are put where they belong."""
    told: dict[str, Any] = json.loads(lzma.decompress((HERE / f"{name}.json.xz").read_bytes()))
    assert files.names() == []
    for file, body in told["files"].items():
        files.allocate(file, len(base64.b64decode(body)))
        files.write(file, 0, [base64.b64decode(body)])
    files.sync(files.names(), directory=True)
    return told


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else LogFiles(tmp_path / "log")


def found(files: Files, sent: int, boot: str) -> tuple[LocalLog, list[Entry]]:
    binding = binding_of(files, "uuid")
    assert binding is not None
    log = LocalLog(files, binding, LIMIT)
    return log, log.recover(sent, boot=boot)


def check(log: LocalLog, entries: list[Entry], told: list[list[int]], sent: int) -> None:
    """All that was not sent is there, and right."""
    least = next((entry.seq for entry in entries), 1)
    assert [entry.seq for entry in entries] == list(range(least, len(told) + 1))
    assert least <= sent + 1
    for entry in entries:
        kind, offset, length, unique = told[entry.seq - 1]
        assert (entry.kind, entry.offset, entry.length) == (kind, offset, length)
        assert (entry.unique, entry.connection) == (unique, 7)
        if kind == Kind.WRITE:
            assert log.read(entry.position, length) == content(unique, length)


@pytest.mark.parametrize("boot", ["same", "another"])
@pytest.mark.parametrize("name", NAMES)
def test_a_log_of_an_earlier_version_is_found_and_gone_on_with(
    name: str, boot: str, files: Files
) -> None:
    told = golden(name, files)
    entries, sent = told["entries"], told["sent"]
    binding = binding_of(files, "uuid")
    assert binding is not None
    now = binding.boot if boot == "same" and not name.endswith("cut") else boot
    if told["broken"]:
        with pytest.raises(Damaged, match=told["broken"]):
            found(files, sent, now)
        return
    log, there = found(files, sent, now)
    check(log, there, entries, sent)
    log.rebind(replace(log.binding, boot=now))
    for unique in range(len(entries) + 1, len(entries) + 21):
        while not log.room(8192):
            sent = log.seq
            log.release(sent)
        log.append(Kind.WRITE, 4096, content(unique, 8192), unique, 7)
        entries.append([Kind.WRITE, 4096, 8192, unique])
        if unique % 7 == 0:
            log, there = found(files, sent, now)
            check(log, there, entries, sent)
    flush(log)
    if isinstance(files, MemoryFiles):
        files.cut_power(random.Random(3))
    check(*found(files, sent, "yet another"), entries, sent)


@pytest.mark.parametrize("name", NAMES)
def test_a_log_of_an_earlier_version_is_an_orphan_if_something_is_not_sent(
    name: str, files: Files
) -> None:
    told = golden(name, files)
    binding = binding_of(files, "uuid")
    assert binding is not None
    before = {name: files.read(name) for name in files.names()}
    log = LocalLog(files, binding, LIMIT)
    assert log.holds_unsent() is not name.endswith("all-sent")
    assert not log.holds_unsent(len(told["entries"]) + 1)
    assert {name: files.read(name) for name in files.names()} == before


class Changed(MemoryFiles):
    """A golden log, of which one file is not what it was."""

    def __init__(self, name: str, data: st.DataObject) -> None:
        super().__init__()
        self.told = golden(name, self)
        self.spoilt = data.draw(st.sampled_from(self.names()))
        body = bytearray(self.read(self.spoilt))
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(body)) | st.integers(0, 4400))
            length = data.draw(st.sampled_from([1, 1, 4, 48, 4096, 20000]))
            change = data.draw(st.sampled_from(["flip", "zeros", "copy", "cut", "other"]))
            if change == "cut":
                del body[at:]
            elif change == "flip" and at < len(body):
                body[at] ^= 1 << data.draw(st.integers(0, 7))
            elif at < len(body):
                start = data.draw(st.integers(0, len(body)))
                other = self.read(data.draw(st.sampled_from(self.names())))
                source = {"zeros": bytes(length), "copy": body[start:]}.get(change, other[at:])
                body[at : at + length] = source[:length]
        self.put(self.spoilt, bytes(body))


@pytest.mark.sim
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.data())
def test_a_spoilt_log_is_read_as_it_was_or_damaged(name: str, data: st.DataObject) -> None:
    """Whatever is changed in whichever file, nothing is found that was not written."""
    files = Changed(name, data)
    told, sent = files.told["entries"], files.told["sent"]
    try:
        binding = binding_of(files, "uuid")
    except Damaged:
        return
    if binding is None or binding != replace(BINDING, boot=binding.boot):
        return  # another log's, as far as anybody can tell
    unsent = None
    with suppress(Damaged, HostError):
        unsent = LocalLog(files, binding, LIMIT).holds_unsent(sent)
    try:
        log, entries = found(files, sent, "another")
    except (Damaged, HostError):
        assert unsent is not False
        return
    assert unsent is (log.seq > sent)
    assert [entry.seq for entry in entries] == list(range(log.seq - len(entries) + 1, log.seq + 1))
    for entry in entries:
        kind, offset, length, unique = told[entry.seq - 1]
        assert (entry.kind, entry.offset, entry.length) == (kind, offset, length)
        assert entry.unique == unique
        if kind == Kind.WRITE and entry.seq > sent:
            assert log.read(entry.position, length) == content(unique, length)


if __name__ == "__main__":
    for case, make in CASES.items():
        path = HERE / f"log-{VERSION}-{case}.json.xz"
        if not path.exists():
            path.write_bytes(stored(make()))
