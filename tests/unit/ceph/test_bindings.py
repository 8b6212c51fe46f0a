"""Modules of the distribution are loaded alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.ceph import bindings


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "kedge_probe.py").write_text("VALUE = 7\n")
    (tmp_path / "kedge_broken.py").write_text("raise ImportError('built for another Python')\n")
    (tmp_path / "kedge_neighbour.py").write_text("")
    yield tmp_path
    sys.modules.pop("kedge_probe", None)


def test_only_what_was_asked_for_is_loaded(place: Path) -> None:
    before = list(sys.path)
    assert bindings.load("kedge_probe", [str(place)]).VALUE == 7
    assert bindings.load("kedge_probe", []) is sys.modules["kedge_probe"]
    assert sys.path == before
    with pytest.raises(ImportError):
        __import__("kedge_neighbour")


def test_what_is_missing_or_broken_is_an_import_error(place: Path) -> None:
    with pytest.raises(ImportError, match=r"kedge_absent.*for Python 3"):
        bindings.load("kedge_absent", [str(place)])
    with pytest.raises(ImportError, match="another Python"):
        bindings.load("kedge_broken", [str(place)])
    assert "kedge_broken" not in sys.modules
