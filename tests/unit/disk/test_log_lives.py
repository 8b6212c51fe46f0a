"""The local log through many lives: servers are killed at any call on a file, also while they find
the log again, writes are torn by it, and the power is cut; what is found is a beginning of what was
written, no shorter than promised. A third of the logs was begun by servers of version 1; in the
others a tenant writes blocks that look like entries."""

import os
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from backends.disk.core.logformat import Entry, Kind, Seal, SegmentHead, encode
from backends.disk.log.locallog import Binding, LocalLog, binding_of, new_log
from tests.unit.disk.memory_files import MemoryFiles
from tests.unit.disk.test_locallog import BINDING, flush

SEEDS = int(os.environ.get("KEDGE_SIM_SEEDS", "400"))
FIRST = int(os.environ.get("KEDGE_SIM_FIRST", "0"))
PLACES = (0, 1, 51, 52, 56, 60)
"""Bytes of a torn write; an entry's head ends among them."""


class Killed(BaseException):
    """The process ends here."""


class Deadly(MemoryFiles):
    """Kills whoever uses it at the call number `left`."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.left: int | None = None
        self._chance = chance

    def _call(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed

    def allocate(self, name: str, size: int) -> None:
        self._call()
        super().allocate(name, size)

    def rename(self, old: str, new: str) -> None:
        self._call()
        super().rename(old, new)

    def remove(self, name: str) -> None:
        self._call()
        super().remove(name)

    def put(self, name: str, content: bytes) -> None:
        self._call()
        super().put(name, content)
        self._call()

    def sync(self, names: Sequence[str], *, directory: bool = False) -> None:
        self._call()
        super().sync(names, directory=directory)

    def write(self, name: str, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        try:
            self._call()
        except Killed:
            body = b"".join(bytes(part) for part in parts)
            kept = self._chance.choice([*PLACES, len(body), self._chance.randrange(len(body) + 1)])
            if kept:
                super().write(name, offset, [body[:kept]])
            raise
        super().write(name, offset, parts)


class OldLog(LocalLog):
    """Written by a server of version 1."""

    def _head(self, number: int) -> SegmentHead:
        return replace(super()._head(number), salt=b"")

    def _end_last(self, for_good: bool, *, closed: bool) -> None:
        end = self._segments[-1].end if self._segments else 0
        super()._end_last(for_good, closed=closed)
        if self._segments and not closed:
            self._segments[-1].end = end


class Lives:
    """One log. `written`: what was appended, as far as it has to be there or may be."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.other = random.Random(f"{seed}")
        self.old = self.other.randrange(1, 8) if seed % 3 == 0 else 0
        """How many servers are still of version 1."""
        self.forging = self.old == 0
        self.seals = [Seal()]
        self.forged: dict[int, bytes] = {}
        self.files = Deadly(self.chance)
        binding = new_log(self.files, replace(BINDING, boot="0"), 8).binding
        self.log = self._opened(binding)
        self.log.reserve()
        self.written: list[tuple[Kind, int, int]] = []
        self.begun: tuple[Kind, int, int] | None = None
        """What was being appended: kind, unique, blocks."""
        self.flushed = self.sent = self.unique = self.boot = 0

    def _opened(self, binding: Binding) -> LocalLog:
        self.old -= 1
        return (OldLog if self.old >= 0 else LocalLog)(self.files, binding, 8)

    def live(self) -> None:
        """One server's life, from its first write to its end."""
        self.files.left = self.chance.randrange(40) if self.chance.random() < 0.8 else None
        try:
            for _ in range(self.chance.randrange(8)):
                self._do()
        except Killed:
            pass
        self.files.left = None

    def _do(self) -> None:
        what = self.chance.random()
        if what < 0.7:
            self._append()
        elif what < 0.85:
            flush(self.log)
            self.flushed = len(self.written)
        else:
            self.sent = self.chance.randrange(self.sent, len(self.written) + 1)
            self.log.release(self.sent)

    def _append(self) -> None:
        count = self.chance.choice([1, 1, 1, 2, 4])
        kind = Kind.DISCARD if self.chance.random() < 0.2 else Kind.WRITE
        if not self.log.room(4096 * count):
            return
        self.unique += 1
        self.begun = (kind, self.unique, count)
        data = 4096 * count if kind is Kind.DISCARD else self.content(self.unique, count)
        self.log.append(kind, self.unique * 4096, data, self.unique, 7)
        self.written.append(self.begun)
        self.begun = None

    def content(self, unique: int, count: int) -> bytes:
        plain = bytes([unique % 251 + 1]) * 4096 * count
        if self.forging and unique not in self.forged:
            forged = self.other.random() < 0.5
            self.forged[unique] = self._forgery(len(plain)) if forged else plain
        return self.forged.get(unique, plain)

    def _forgery(self, length: int) -> bytes:
        """Entries that a tenant makes who knows all segments of this log but the one in which they
        will be looked for, and which numbers come next."""
        known = {segment.seal for segment in self.log._segments[:-1]} | set(self.seals)
        self.seals = sorted(known)
        seq, place = len(self.written), self.other.randrange(48)
        body = bytes(place)
        while len(body) < length:
            seal, at = self.other.choice(self.seals[-3:]), 4096 + 48 * self.other.randrange(1250)
            number = seq + self.other.randrange(1, 12)
            entry = Entry(number, Kind.DISCARD, 0, 4096, 0, 7, number - 1)
            body += encode(entry, seal, at)
        return body[:length]

    def found(self) -> bool:
        """The log is found again, or whoever does that dies. False: the store has more than it."""
        if self.chance.random() < 0.3:
            self.files.cut_power(self.chance)
            self.boot += 1
        self.files.left = self.chance.randrange(12) if self.chance.random() < 0.5 else None
        binding = binding_of(self.files, "uuid")
        assert binding is not None
        self.log = self._opened(binding)
        entries = self.log.recover(self.sent, boot=str(self.boot))
        if self.log.seq < self.sent:
            return False
        self._check(entries, cut=binding.boot != str(self.boot))
        self.log.rebind(replace(binding, boot=str(self.boot)))
        self.log.release(self.sent)
        self.log.reserve()
        self.files.left = None
        return True

    def _check(self, entries: list[Entry], *, cut: bool) -> None:
        if self.begun and self.log.seq == len(self.written) + 1:
            self.written.append(self.begun)
        self.begun = None
        least = max(self.flushed, self.sent) if cut else len(self.written)
        assert least <= self.log.seq <= len(self.written)
        del self.written[self.log.seq :]
        assert {entry.seq for entry in entries} >= set(range(self.sent + 1, self.log.seq + 1))
        for entry in entries:
            kind, unique, count = self.written[entry.seq - 1]
            assert (entry.kind, entry.unique, entry.length) == (kind, unique, 4096 * count)
            if kind is Kind.WRITE and entry.seq > self.sent:
                there = self.log.read(entry.position, entry.length)
                assert there == self.content(unique, count)
        self.flushed = len(self.written)


def through(seed: int) -> None:
    lives = Lives(seed)
    for _ in range(lives.chance.randrange(4, 14)):
        lives.live()
        again = True
        while again:
            try:
                if not lives.found():
                    return
                again = lives.chance.random() < 0.3
            except Killed:
                pass


@pytest.mark.parametrize("part", range(4))
def test_every_life_finds_a_beginning_of_what_was_written(part: int) -> None:
    for seed in range(FIRST + part, FIRST + SEEDS, 4):
        try:
            through(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


@pytest.mark.parametrize("seed", [1234, 3674, 5276])
def test_a_file_that_got_its_old_name_back_is_not_used_again(seed: int) -> None:
    """A power cut took back that it had been used again, but not what was written into it then."""
    through(seed)
