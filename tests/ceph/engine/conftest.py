"""An engine's node as in tests/engine, its driver with a profile on the cluster.

`node` and what tests do with it are those of tests/engine; only what lies below differs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.ceph.options import Layout
from tests.engine.conftest import NUMBERS, node
from tests.lab import rootfs
from tests.lab.ceph import Ceph
from tests.lab.node import Node, packaged
from tests.lab.started import started

__all__ = ["node"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The managed plugin with Ceph's tools built in."""
    return rootfs.build(tmp_path_factory.mktemp("plugin"), "ceph")


@pytest.fixture(scope="session", params=["managed", "socket"])
def shared_node(request: pytest.FixtureRequest, ceph: Ceph, keyring: Path) -> Iterator[Node]:
    name = f"ceph-{request.param}-{next(NUMBERS)}"
    made = packaged(request.param, name, lambda: request.getfixturevalue("built"))
    shutil.copy(keyring, made.data / "kedge.keyring")
    inside = made.data if request.param == "socket" else Path("/host/kedge")
    (made.data / "kedge.toml").write_text(
        f'default_backend = "ceph"\n[profiles.ceph]\nbackend = "ceph"\nfs = "{ceph.fs}"\n'
        f'keyring = "{inside}/kedge.keyring"\nmonitors = "{ceph.mon_host}"\ntimeout = 5\n'
    )
    with started(made):
        yield made


@pytest.fixture(params=list(Layout), ids=lambda layout: layout.value)
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each layout."""
    made: Layout = request.param
    return made


@pytest.fixture
def volume(node: Node, layout: Layout) -> str:
    """A new volume of each layout, by its name."""
    name = f"vol-{next(NUMBERS)}"
    node.create(name, f"layout={layout.value}", "size=512M")
    return name
