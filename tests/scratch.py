"""Every run has a directory of its own for `tmp_path`, which goes with it when all went well.

pytest's default is one that all runs of a user share and tidy: what a killed run left mounted there
would fail the next ones, whoever began them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from backends.host import mountinfo


def prepare(config: pytest.Config) -> None:
    """Unless the command line names one, or a run of several workers has one for this worker."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="kedge-tests-")
        config.stash[OURS] = Path(config.option.basetemp)


def tidy(session: pytest.Session, status: int) -> None:
    """Removes it, unless a test failed or left something mounted there: that may hold anything."""
    place = session.config.stash.get(OURS, None)
    if place is None or status != pytest.ExitCode.OK:
        return
    if not any(mount.point.startswith(f"{place}/") for mount in mountinfo.read()):
        shutil.rmtree(place, ignore_errors=True)


OURS = pytest.StashKey[Path]()
