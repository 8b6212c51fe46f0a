"""One Swarm for all tests here; each leaves it empty and whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.storage import SharedDirectory
from tests.lab.swarm import Swarm, running


@pytest.fixture(scope="session")
def whole_swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    scratch = tmp_path_factory.mktemp("plugin")
    place = Path(tempfile.mkdtemp(prefix="kedge-swarm-", dir="/var/tmp"))
    with running(rootfs.build(scratch), SharedDirectory(place)) as made:
        yield made


@pytest.fixture
def swarm(whole_swarm: Swarm) -> Iterator[Swarm]:
    yield whole_swarm
    whole_swarm.clear()
