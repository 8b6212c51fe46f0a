"""One cluster for all tests of this folder, with what an administrator prepares for kedge."""

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Context
from backends.ceph import CephBackend
from backends.ceph.options import CephSettings, Layout
from tests.lab.ceph import CAPABILITIES, Ceph
from tests.lab.ceph_leftovers import nothing_left
from tests.lab.started import started

Node = Callable[..., CephBackend]


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """A healthy cluster. Tests that break it mend it, and at the end nothing uses it any more."""
    cluster = Ceph()
    with started(cluster):
        yield cluster
        nothing_left(cluster)
    assert not cluster.root.exists()
    assert cluster.clients() == []


@pytest.fixture(scope="session")
def keyring(ceph: Ceph) -> Path:
    """The key of the client that kedge is."""
    return ceph.key("kedge", **CAPABILITIES)


@pytest.fixture
def settings(ceph: Ceph, keyring: Path) -> CephSettings:
    """A profile on an empty pool."""
    ceph.empty_pool()
    return CephSettings(
        keyring=keyring, conf=ceph.conf, fs=ceph.fs, timeout=5.0, layout=Layout.FILESYSTEM
    )


@pytest.fixture
def directory(ceph: Ceph) -> Iterator[Path]:
    """Short: the names of sockets have a limit of 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="n-", dir=ceph.root / "tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def node(settings: CephSettings, directory: Path) -> Iterator[Node]:
    """Makes nodes with the same profile; what is attached on them is detached afterwards."""
    made: list[CephBackend] = []

    def make(name: str = "node-1", wanted: CephSettings = settings) -> CephBackend:
        place = directory / name
        backend = CephBackend(wanted, Context("ceph", name, place / "mounts", place / "state"))
        made.append(backend)
        return backend

    yield make
    for backend in made:
        for attachment in backend.attachments():
            backend.detach(attachment)
    made.clear()
    gc.collect()  # a connection ends with its last user; each has a dozen descriptors
