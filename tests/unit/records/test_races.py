"""DirectoryRecords: several processes interleaved at every system call, on a bad network.

Each seed is one schedule of three processes that read, write, make and remove one key, while
replies of renames get lost, listings miss tokens and processes die. What they were told is then
checked against what everybody saw.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backends.errors import Conflict, KedgeError, Unavailable
from backends.records.directory import DirectoryRecords
from backends.records.key_directory import KeyDirectory, Listing
from backends.records.root import Root
from backends.records.versions import Version
from tests.unit.records.interleave import Interleaving
from tests.unit.records.model_files import Disk, ModelFiles, Unreliable

KEY = "volumes/db"
SEEDS = range(300)


@dataclass
class Call:
    """What one process asked, when, and what it was told (`outcome`; `maybe` when it died)."""

    verb: str
    start: int
    expected: str | None = None
    value: bytes | None = None
    version: str | None = None
    outcome: str = "maybe"
    end: int = 10**9

    @property
    def in_effect(self) -> bool:
        return self.outcome in ("done", "maybe")


@dataclass
class World:
    """One run: the disk, the schedule, and all that was asked."""

    seed: int
    removals: bool
    disk: Disk = field(default_factory=Disk)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.order = Interleaving(self.chance, deadly=0.002)

    def client(self, number: int) -> DirectoryRecords:
        nonces = (f"{number:02x}{n:06x}" * 2 for n in itertools.count())
        files = Unreliable(self.disk, self.chance, self.order.step)
        return DirectoryRecords(
            Path("/"), files=files, nonce=lambda: next(nonces), sleep=lambda seconds: None
        )

    def process(self, number: int) -> Callable[[], None]:
        def act() -> None:
            records, seen = self.client(number), None
            for step in range(6):
                verb = self.chance.choice(["get", "get", "put", "put", "put", "sweep"])
                if self.removals and seen and self.chance.random() < 0.3:
                    verb = "delete"
                seen = self.call(records, verb, b"%d-%d" % (number, step), seen)

        return act

    def call(
        self, records: DirectoryRecords, verb: str, value: bytes, seen: str | None
    ) -> str | None:
        """Ask, note the answer, return the version that this process now believes in."""
        self.order.now += 1
        call = Call(verb, self.order.now, expected=seen, value=value)
        self.calls.append(call)
        try:
            if verb == "sweep":
                records.sweep()
                call.version = seen
            elif verb == "get":
                record = records.get(KEY)
                call.value = record.value if record else None
                call.version = record.version if record else None
            elif verb == "put":
                call.version = records.put(KEY, value, expected=seen).version
            elif seen is not None:
                records.delete(KEY, expected=seen)
            call.outcome = "done"
        except Conflict:
            call.outcome = "conflict"
            return None if self.chance.random() < 0.3 else seen
        except Unavailable:
            return seen
        finally:
            self.order.now += 1
            call.end = self.order.now
        return call.version

    def run(self) -> None:
        self.order.run([self.process(number) for number in range(3)])
        quiet = DirectoryRecords(Path("/"), files=ModelFiles(self.disk))
        seen = self.call(quiet, "get", b"", None)
        assert self.call(quiet, "put", b"last", seen), "a quiet disk refuses"
        quiet.sweep(grace=0)
        assert max(map(len, self.disk.tree().values())) <= 2, "something was left behind"

    def check(self) -> None:
        self.calls = [call for call in self.calls if call.verb != "sweep"]
        puts = [call for call in self.calls if call.verb == "put"]
        gets = [call for call in self.calls if call.verb == "get" and call.outcome == "done"]
        written = {call.value: call for call in puts}
        for get in gets:
            if get.value is not None:
                assert written[get.value].in_effect, "a refused value was seen"
                known = written[get.value].version
                assert known in (None, get.version), "a value was seen under another version"
        self._check_one_successor()
        for change in self.calls:
            if change.verb != "get" and change.outcome == "done" and change.expected:
                assert not [
                    g for g in gets if g.start >= change.end and g.version == change.expected
                ], "a replaced version was seen again"
        self._check_absence(puts, gets)

    def _check_one_successor(self) -> None:
        changes = [call for call in self.calls if call.verb != "get" and call.outcome == "done"]
        replaced = [call.expected for call in changes if call.expected]
        assert len(replaced) == len(set(replaced)), "two writers replaced the same version"
        made = [call for call in changes if call.verb == "put" and call.expected is None]
        removals = [c for c in self.calls if c.verb == "delete" and c.in_effect]
        assert len(made) <= 1 + len(removals), "a present key was made again"

    def _check_absence(self, puts: list[Call], gets: list[Call]) -> None:
        if not self.removals:
            born = min((put.end for put in puts if put.outcome == "done"), default=10**9)
            assert not [g for g in gets if g.start >= born and g.value is None], "a key was denied"


def hold(seed: int) -> None:
    """One schedule keeps every rule."""
    world = World(seed, removals=seed % 2 == 0)
    world.run()
    world.check()


def hold_all() -> None:
    for seed in SEEDS:
        hold(seed)


def test_no_schedule_breaks_a_rule() -> None:
    hold_all()


def believe_enoent(
    self: DirectoryRecords, key: str, place: KeyDirectory, old: Version, new: Version, to: str
) -> None:
    """Mutant: a rename that answers ENOENT did not happen."""
    path = place.path
    try:
        self._root.files.rename(path / f"cur.{old}", path / f"{to}.{new}")
    except FileNotFoundError:
        raise Conflict("not ours") from None


def blind_write(
    self: DirectoryRecords, key: str, place: KeyDirectory, old: Version, new: Version, to: str
) -> None:
    """Mutant: whatever token is there is moved."""
    path = place.path
    tokens = [n for n in self._root.files.names(path) if n.startswith("cur.")]
    self._root.files.rename(path / (tokens or ["cur.none"])[0], path / f"{to}.{new}")


def believe_one_look(self: Root, place: KeyDirectory) -> Listing:
    """Mutant: one listing without a token means that the key is absent."""
    try:
        return place.list()
    except FileNotFoundError:
        return Listing()


def any_descendant(self: Version, older: Version) -> bool:
    """Mutant: a version descends from whatever has a smaller number."""
    return self.number >= older.number


MUTANTS: list[tuple[type, str, Callable[..., object]]] = [
    (DirectoryRecords, "_move_token", believe_enoent),
    (DirectoryRecords, "_move_token", blind_write),
    (Root, "look", believe_one_look),
    (Version, "descends", any_descendant),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant[2].__name__)
def test_every_broken_rule_is_found(
    mutant: tuple[type, str, Callable[..., object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*mutant)
    with pytest.raises((AssertionError, KedgeError)):
        hold_all()
