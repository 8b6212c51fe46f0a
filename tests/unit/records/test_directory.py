"""DirectoryRecords: what it says when the directory is not as it should be."""

import errno
import os
from pathlib import Path

import pytest

from backends.errors import Conflict, Damaged, NoSpace, Unavailable
from backends.records.directory import DirectoryRecords
from backends.records.durable_files import DurableFiles
from backends.records.sweeping import GRACE

KEY = "volumes/db"


@pytest.fixture
def records(tmp_path: Path) -> DirectoryRecords:
    return DirectoryRecords(tmp_path, sleep=lambda seconds: None)


def value_file(root: Path) -> Path:
    return next((root / KEY).glob("val.*"))


def test_a_root_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    """An unmounted directory must not look like one without volumes."""
    records = DirectoryRecords(tmp_path / "unmounted")
    with pytest.raises(Unavailable, match="is it mounted"):
        records.get(KEY)
    with pytest.raises(Unavailable, match="is it mounted"):
        records.keys("volumes")
    with pytest.raises(Unavailable, match="is it mounted"):
        records.put(KEY, b"", expected=None)


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b"X" + b[1:], lambda b: b + b"x"])
def test_a_torn_value_is_damaged(records: DirectoryRecords, tmp_path: Path, harm: object) -> None:
    records.put(KEY, b"important", expected=None)
    path = value_file(tmp_path)
    path.write_bytes(harm(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(Damaged, match="checksum"):
        records.get(KEY)


def test_a_value_of_another_key_is_damaged(records: DirectoryRecords, tmp_path: Path) -> None:
    records.put(KEY, b"important", expected=None)
    records.put("volumes/other", b"important", expected=None)
    value_file(tmp_path).write_bytes(next((tmp_path / "volumes/other").glob("val.*")).read_bytes())
    with pytest.raises(Damaged, match="checksum"):
        records.get(KEY)


def test_a_lost_value_is_damaged(records: DirectoryRecords, tmp_path: Path) -> None:
    records.put(KEY, b"important", expected=None)
    value_file(tmp_path).unlink()
    with pytest.raises(Damaged, match="lost the value"):
        records.get(KEY)


def test_foreign_files_are_left_alone(records: DirectoryRecords, tmp_path: Path) -> None:
    made = records.put(KEY, b"one", expected=None)
    foreign = [tmp_path / "volumes/lost+found", tmp_path / KEY / ".nfs0001", tmp_path / "README"]
    for path in foreign:
        path.write_bytes(b"")
    assert records.keys("volumes") == [KEY]
    records.sweep(grace=0)
    records.delete(KEY, expected=made.version)
    assert records.get(KEY) is None
    assert all(path.exists() for path in foreign)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_file_system_says_so(tmp_path: Path, code: int) -> None:
    class Full(DurableFiles):
        def write_new(self, path: Path, content: bytes) -> None:
            super().write_new(path, content[:1])
            raise OSError(code, os.strerror(code), str(path))

    records = DirectoryRecords(tmp_path)
    made = records.put(KEY, b"one", expected=None)
    full = DirectoryRecords(tmp_path, files=Full())
    with pytest.raises(NoSpace):
        full.put(KEY, b"two", expected=made.version)
    with pytest.raises(NoSpace):
        full.put("volumes/new", b"two", expected=None)
    assert records.get(KEY) == made
    assert records.keys("volumes") == [KEY]
    assert len(os.listdir(tmp_path / KEY)) == 2
    assert os.listdir(tmp_path / "volumes") == ["db"]


def test_a_write_that_may_not_be_durable_is_not_success(tmp_path: Path) -> None:
    class Failing(DurableFiles):
        syncs = 0

        def sync_directory(self, path: Path) -> None:
            self.syncs += 1
            if self.syncs == 2:
                raise OSError(errno.EIO, "disk", str(path))
            super().sync_directory(path)

    made = DirectoryRecords(tmp_path).put(KEY, b"one", expected=None)
    DirectoryRecords(tmp_path).sweep()
    with pytest.raises(Unavailable, match="perhaps not durably"):
        DirectoryRecords(tmp_path, files=Failing()).put(KEY, b"two", expected=made.version)


def test_sweep_spares_a_key_in_the_making(records: DirectoryRecords, tmp_path: Path) -> None:
    records.put(KEY, b"one", expected=None)
    making = tmp_path / "volumes/.new.0123456789abcdef"
    making.mkdir()
    (making / "cur.1.0123456789abcdef").touch()
    assert records.sweep() == 0
    assert making.exists()
    old = making.stat().st_mtime - GRACE - 60
    os.utime(making, (old, old))
    assert records.sweep() == 1
    assert os.listdir(tmp_path / "volumes") == ["db"]


def test_a_maker_that_slept_past_the_grace_is_told_so(tmp_path: Path) -> None:
    """It must not come to life half swept."""

    class Sleepy(DurableFiles):
        def rename(self, old: Path, new: Path) -> None:
            DirectoryRecords(tmp_path).sweep(grace=-1)
            super().rename(old, new)

    with pytest.raises(Unavailable):
        DirectoryRecords(tmp_path, files=Sleepy()).put(KEY, b"one", expected=None)
    assert DirectoryRecords(tmp_path).get(KEY) is None
    assert os.listdir(tmp_path / "volumes") == []


def test_a_replaced_value_may_vanish_while_it_is_read(tmp_path: Path) -> None:
    """The reader looks again and finds the new one."""
    first = DirectoryRecords(tmp_path).put(KEY, b"one", expected=None)

    class Overtaken(DurableFiles):
        done = False

        def read(self, path: Path) -> bytes:
            if not self.done:
                self.done = True
                DirectoryRecords(tmp_path).put(KEY, b"two", expected=first.version)
            return super().read(path)

    found = DirectoryRecords(tmp_path, files=Overtaken()).get(KEY)
    assert found is not None
    assert found.value == b"two"


def test_a_removed_directory_is_a_conflict_for_its_writer(tmp_path: Path) -> None:
    records = DirectoryRecords(tmp_path)
    first = records.put(KEY, b"one", expected=None)

    class Late(DurableFiles):
        def write_new(self, path: Path, content: bytes) -> None:
            records.delete(KEY, expected=first.version)
            super().write_new(path, content)

    with pytest.raises(Conflict, match="removed"):
        DirectoryRecords(tmp_path, files=Late()).put(KEY, b"two", expected=first.version)


def test_values_are_private_to_root(records: DirectoryRecords, tmp_path: Path) -> None:
    records.put(KEY, b"one", expected=None)
    assert (tmp_path / KEY).stat().st_mode & 0o77 == 0
    assert value_file(tmp_path).stat().st_mode & 0o77 == 0


def test_keys_are_listed_by_one_look(tmp_path: Path) -> None:
    class Counting(DurableFiles):
        calls = 0

        def names(self, directory: Path) -> list[str]:
            self.calls += 1
            return super().names(directory)

    for n in range(20):
        DirectoryRecords(tmp_path).put(f"volumes/v{n}", b"", expected=None)
    files = Counting()
    assert len(DirectoryRecords(tmp_path, files=files).keys("volumes")) == 20
    assert files.calls == 1
