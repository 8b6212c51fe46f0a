"""One pool and one Gluster volume for all tests here; a directory of it for each test."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backends.base import Context
from backends.gluster import GlusterBackend
from backends.gluster.options import GlusterSettings, MountOptions, Servers
from backends.host import immutable, mountinfo, mounts
from tests.lab.gluster import Pool

VOLUME = "r3"
_directories = itertools.count()

Open = Callable[..., GlusterBackend]
"""`open_node("a")`: the backend of a node; every call of one test meets the same directory."""


@contextmanager
def a_pool(**options: str) -> Iterator[Pool]:
    """Three nodes with the volume `r3`, with these options of it, as `Pool.volume` takes them."""
    with closing(Pool()) as made:
        made.volume(VOLUME, network__ping_timeout="5", **options)
        yield made


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """For all tests that leave it whole. Many kill clients under way: what those had open waits to
    be healed ever since. Tests that take servers down have pools of their own, where nothing waits
    but what they wrote."""
    with a_pool() as made:
        yield made


@pytest.fixture(scope="session")
def with_quota(pool: Pool) -> None:
    """The volume has quota, as exact as it gets."""
    pool.gluster("volume", "quota", VOLUME, "enable")
    for timeout in ("soft-timeout", "hard-timeout"):
        pool.gluster("volume", "quota", VOLUME, timeout, "0")


@pytest.fixture
def open_node(pool: Pool, tmp_path: Path) -> Iterator[Open]:
    """Backends on a fresh directory of the pool; whatever they leave mounted is taken away."""
    directory = f"test-{next(_directories)}"

    def make(node: str = "a", **settings: object) -> GlusterBackend:
        wanted = {
            "servers": Servers(",".join(pool.addresses)),
            "volume": VOLUME,
            "subdirectory": directory,
            "mount_options": MountOptions(""),
        } | settings
        root = tmp_path / node
        context = Context("pool", node, mounts=root / "mounts", state=root / "state")
        return GlusterBackend(GlusterSettings(**wanted), context)  # type: ignore[arg-type]

    yield make
    clean(tmp_path)


def clean(root: Path) -> None:
    """Unmount everything below a directory and end the clients there."""
    points = [m.point for m in mountinfo.read() if m.point.startswith(f"{root}/")]
    for point in reversed(points):
        mounts.unmount(Path(point), lazily=True)
    for pattern in ("**/state*/control", "**/state*/clients/*", "**/state*/quota/*"):
        for place in root.glob(pattern):
            if place.is_dir():
                immutable.release(place)
