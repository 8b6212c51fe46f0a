"""What killed processes left of their records is taken away by those who live."""

import os
from pathlib import Path

import pytest

from backends.base import Context
from backends.errors import Unavailable
from backends.local import LocalBackend
from backends.local.options import LocalSettings
from backends.records.directory import DirectoryRecords
from backends.records.durable_files import DurableFiles
from backends.records.sweeping import GRACE
from backends.tree.backend import SWEPT_EVERY

LEFT = ".new.0123456789abcdef"


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    context = Context("local", "n1", tmp_path / "mounts", tmp_path / "state")
    return LocalBackend(LocalSettings(root=tmp_path / "root"), context)


def leave(backend: LocalBackend) -> Path:
    """As a process that was killed while it made a record, two days ago."""
    left = backend.store.records / "volumes" / LEFT
    left.mkdir(parents=True)
    (left / "cur.1.0123456789abcdef").touch()
    old = left.stat().st_mtime - 2 * GRACE
    os.utime(left, (old, old))
    return left


def test_it_is_taken_away_at_first_and_every_some_hours(backend: LocalBackend) -> None:
    backend.check()
    left = leave(backend)
    backend.tidy()
    assert not left.exists()
    leave(backend)
    for _ in range(SWEPT_EVERY - 1):
        backend.tidy()
    assert left.exists()
    backend.tidy()
    assert not left.exists()


def test_what_could_not_be_done_is_done_in_the_next_round(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(grace: float = GRACE) -> int:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(backend._files, "sweep", away)
        with pytest.raises(Unavailable):
            backend.tidy()
    left = leave(backend)
    backend.tidy()
    assert not left.exists()


def test_two_who_sweep_at_once_hinder_neither(tmp_path: Path) -> None:
    """The other one is a call ahead, wherever this one is."""
    (tmp_path / "volumes").mkdir()

    class Ahead(DurableFiles):
        def names(self, path: Path) -> list[str]:
            found = super().names(path)
            if path.name == "volumes" or path.name.startswith(".old."):
                DirectoryRecords(tmp_path).sweep(grace=0)
            return found

    left = tmp_path / "volumes" / LEFT
    left.mkdir()
    DirectoryRecords(tmp_path, files=Ahead()).sweep(grace=0)
    assert os.listdir(tmp_path / "volumes") == []
