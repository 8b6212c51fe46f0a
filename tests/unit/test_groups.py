"""Tests of one group run on one worker: what pytest and xdist must agree on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", range(6))
def test_shared(number):
    pass
"""


@pytest.mark.sim  # it starts a pytest of three processes
def test_a_group_stays_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    argv = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadgroup"]
    ran = subprocess.run(
        [*argv, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    workers = re.findall(r"\[(gw\d)\].*PASSED.*test_shared\[\d\]@shared", ran.stdout)
    assert len(workers) == 6
    assert len(set(workers)) == 1
