"""DirectoryRecords: killed before any system call, with and without a power cut."""

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from backends.errors import Conflict, KedgeError
from backends.records.directory import DirectoryRecords
from backends.records.key_directory import KeyDirectory, Listing
from tests.unit.records.model_files import Disk, Killed, ModelFiles

KEY = "volumes/db"
STORY: tuple[bytes | None, ...] = (b"one", b"two", b"three", None, b"four", b"five")
"""The values that one writer gives the key, one after the other; None removes it."""


def client(disk: Disk, *, dies_at: int = 0, number: int = 0) -> DirectoryRecords:
    """A process that dies before its `dies_at`-th call (0: never)."""

    def before(call: str) -> None:
        if files.calls == dies_at:
            raise Killed

    files = ModelFiles(disk, before)
    nonces = (f"{number:02x}{n:06x}" * 2 for n in itertools.count())
    return DirectoryRecords(
        Path("/"), files=files, nonce=lambda: next(nonces), sleep=lambda seconds: None
    )


def value(disk: Disk, number: int = 9) -> bytes | None:
    """What another node reads."""
    record = client(disk, number=number).get(KEY)
    return record.value if record else None


def tell(records: DirectoryRecords, acknowledged: list[bytes | None]) -> None:
    """Carry out the story, noting every step that returned."""
    version: str | None = None
    for step in STORY:
        if step is None:
            assert version is not None
            records.delete(KEY, expected=version)
            version = None
        else:
            version = records.put(KEY, step, expected=version).version
        acknowledged.append(step)


def killed_at(point: int) -> tuple[Disk, list[bytes | None], bool]:
    """The disk after a writer died at `point`, what it was told is done, whether it died."""
    disk = Disk()
    acknowledged: list[bytes | None] = [None]
    try:
        tell(client(disk, dies_at=point), acknowledged)
    except Killed:
        return disk, acknowledged, True
    return disk, acknowledged, False


def every_point() -> list[int]:
    points = itertools.takewhile(lambda point: killed_at(point)[2], itertools.count(1))
    return list(points)


POINTS = every_point()


def allowed(acknowledged: list[bytes | None]) -> set[bytes | None]:
    """The last acknowledged state, or that of the step in which the writer died."""
    done = len(acknowledged) - 1
    return {acknowledged[-1], *STORY[done : done + 1]}


def test_the_story_has_many_points_to_die_at() -> None:
    assert len(POINTS) > 50


def go_on(disk: Disk) -> None:
    """Any other node can change, remove and make the key, and leaves nothing behind."""
    records = client(disk, number=7)
    if present := records.get(KEY):
        changed = records.put(KEY, b"changed", expected=present.version)
        with pytest.raises(Conflict):
            records.put(KEY, b"late", expected=present.version)
        records.delete(KEY, expected=changed.version)
    made = records.put(KEY, b"made", expected=None)
    assert value(disk) == b"made"
    assert records.keys("volumes") == [KEY]
    assert records.stamps("volumes") == {KEY: made.version}
    records.sweep(grace=0)
    assert disk.tree() == {
        "": ["volumes"],
        "/volumes": ["db"],
        "/volumes/db": [f"cur.{made.version}", f"val.{made.version}"],
    }


def check_kill(point: int) -> None:
    disk, acknowledged, _ = killed_at(point)
    assert value(disk) in allowed(acknowledged)
    go_on(disk)


def check_power_cut(point: int, seeds: int = 6) -> None:
    for seed in range(seeds):
        disk, acknowledged, _ = killed_at(point)
        chance = random.Random(seed)
        disk.cut_power(lambda chance=chance, seed=seed: chance.random() < (seed % 3) / 2)  # type: ignore[misc]
        assert value(disk) in allowed(acknowledged)
        go_on(disk)


def check_many_power_cuts(point: int) -> None:
    check_power_cut(point, seeds=60)


def check_read_is_durable(point: int) -> None:
    """The writer was only killed; a reader saw what it left, and then the power fails."""
    disk, _, _ = killed_at(point)
    seen = value(disk)
    disk.cut_power(lambda: False)
    assert value(disk) == seen


def check_put_is_durable(point: int) -> None:
    """What the next writer was told is done does not rest on what the killed one left undone."""
    disk, _, _ = killed_at(point)
    records = client(disk, number=7)
    present = records.get(KEY)
    records.put(KEY, b"next", expected=present.version if present else None)
    disk.cut_power(lambda: False)
    assert value(disk) == b"next"


def check_removal_is_durable(point: int) -> None:
    disk, _, _ = killed_at(point)
    records = client(disk, number=7)
    if present := records.get(KEY):
        records.delete(KEY, expected=present.version)
    disk.cut_power(lambda: False)
    assert value(disk) is None


def check_cleaner_killed_too(point: int) -> None:
    """Whoever cleans up after the dead may die as well, at any point."""
    for second in range(1, 12):
        disk, acknowledged, _ = killed_at(point)
        with suppress(Killed):
            client(disk, dies_at=second, number=8).sweep(grace=0)
        assert value(disk) in allowed(acknowledged)
        go_on(disk)


CHECKS = [
    check_kill,
    check_power_cut,
    check_read_is_durable,
    check_put_is_durable,
    check_removal_is_durable,
    check_cleaner_killed_too,
]


@pytest.mark.parametrize("check", CHECKS)
def test_dying_before_any_call(check: Callable[[int], None]) -> None:
    for point in POINTS:
        check(point)


@pytest.mark.sim
def test_many_power_cuts() -> None:
    for point in POINTS:
        check_many_power_cuts(point)


def no_sync(self: KeyDirectory) -> None:
    """Mutant: names are left to become durable some time."""


def no_settle(self: KeyDirectory, listing: Listing) -> None:
    """Mutant: a reader believes what it sees, durable or not."""


def sync_only_before(self: DirectoryRecords, key: str, place: KeyDirectory) -> None:
    """Mutant: the rename itself is not made durable."""


def hasty_drop(self: DirectoryRecords, key: str, place: KeyDirectory) -> None:
    """Mutant: the replaced value goes before the rename is durable."""
    listing = place.list()
    place.drop_values(listing.values_before(listing.token) if listing.token else [])
    place.sync()


def careless_furnish(self: KeyDirectory, version: str, content: bytes) -> None:
    """Mutant: a new key is put in place before its files are durable."""
    self._files.make_directory(self.path)
    self.write(version, content)
    self._files.write_new(self.path / f"cur.{version}", b"")
    self._files.write_new(self.path / "young", b"")


MUTANTS: list[tuple[type, str, Callable[..., object]]] = [
    (KeyDirectory, "sync", no_sync),
    (KeyDirectory, "settle", no_settle),
    (DirectoryRecords, "_make_durable", sync_only_before),
    (DirectoryRecords, "_make_durable", hasty_drop),
    (KeyDirectory, "furnish", careless_furnish),
]


def check_everything() -> None:
    for check in [*CHECKS, check_many_power_cuts]:
        for point in POINTS:
            check(point)


@pytest.mark.sim
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant[2].__name__)
def test_every_broken_rule_is_found(
    mutant: tuple[type, str, Callable[..., object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*mutant)
    with pytest.raises((AssertionError, KedgeError)):
        check_everything()
