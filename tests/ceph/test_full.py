"""A cluster without room: clear errors, records that go on, recovery without a restart."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Level, Volume
from backends.ceph import CephBackend
from backends.ceph.options import CephOptions, Layout
from backends.errors import NoSpace
from tests.ceph.conftest import Node
from tests.ceph.test_fencing import attach, make
from tests.ceph.test_snapshots import CREATED
from tests.lab.ceph import Ceph

pytestmark = pytest.mark.lab

USUAL = {"nearfull": 0.85, "backfillfull": 0.9, "full": 0.95}
NOTHING = {"nearfull": 1e-6, "backfillfull": 2e-6, "full": 3e-6}
"""An OSD takes the full ratio for no smaller than the other two."""


class Room:
    """Takes it away and gives it back."""

    def __init__(self, ceph: Ceph, kind: str) -> None:
        self._ceph = ceph
        self._kind = kind

    def end(self) -> None:
        """From now on there is none."""
        self._set("1", NOTHING)
        self._ceph.wait_for(lambda: "POOL_FULL" in self._checks(), "the cluster is full")

    def back(self) -> None:
        """There is some again."""
        self._set("0", dict(reversed(USUAL.items())))
        self._ceph.wait_for(lambda: "POOL_FULL" not in self._checks(), "there is room again")

    def _set(self, quota: str, ratios: dict[str, float]) -> None:
        if self._kind == "osd":
            for name, ratio in ratios.items():
                self._ceph.mon(f"osd set-{name}-ratio", ratio=ratio)
            return
        self._ceph.mon("osd pool set-quota", pool=self._ceph.pool, field="max_bytes", val=quota)

    def _checks(self) -> set[str]:
        return set(self._ceph.mon("health")["checks"])


@pytest.fixture(params=["quota", "osd"])
def room(ceph: Ceph, request: pytest.FixtureRequest) -> Iterator[Room]:
    """A pool at its quota; an OSD without space."""
    made = Room(ceph, request.param)
    yield made
    made.back()
    ceph.wait_for(ceph.healthy, "HEALTH_OK after the test")


def write(path: Path) -> None:
    with path.open("wb") as file:
        file.write(os.urandom(2**21))
        file.flush()
        os.fsync(file.fileno())


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wasted(
    backend: CephBackend, layout: Layout, name: str = "waste", *snapshots: str
) -> Volume[CephOptions]:
    """A volume with content and these snapshots of it."""
    volume = make(backend, layout, name=name)
    attachment = attach(backend, volume)
    write(attachment.target / "f")
    backend.detach(attachment)
    for snapshot in snapshots:
        backend.snapshot_create(volume, snapshot, created=CREATED, attachment=None, claim=None)
    return volume


def removed(backend: CephBackend, volume: Volume[CephOptions]) -> None:
    """All of it, which is the way back from having no room."""
    backend.remove(volume)
    assert volume.name not in [one.name for one in backend.volumes()]


def test_a_full_cluster_is_explained_and_survived(node: Node, room: Room) -> None:
    """The writer in a container waits, as on a disk that is away, and nothing is lost."""
    backend = node()
    volume = make(backend, Layout.DISK)
    attachment = attach(backend, volume)
    write(attachment.target / "before")
    waste = wasted(backend, Layout.DISK, "waste", "one", "two")
    room.end()

    with pytest.raises(NoSpace, match="full or a quota is reached"):
        make(backend, Layout.DISK, name="other")
    record = backend.records.put("sessions/x", b"1", expected=None)
    backend.records.delete("sessions/x", expected=record.version)
    errors = [one for one in backend.findings() if one.level is Level.ERROR]
    assert any("nothing has to be restarted" in one.advice for one in errors)
    writer = started(lambda: write(attachment.target / "during"))
    writer.join(1.0)
    assert writer.is_alive(), "a write was confirmed that the cluster has no room for"
    backend.snapshot_remove(waste, "one", claim=None)
    assert [one.name for one in backend.snapshot_list(waste)] == ["two"]
    removed(backend, waste)
    assert backend.usage(attachment).size
    assert [one.healthy for one in backend.attachments()] == [True]

    room.back()
    writer.join(60)
    assert not writer.is_alive()
    assert (attachment.target / "during").stat().st_size == 2**21
    other = make(backend, Layout.DISK, name="other")
    backend.remove(other)
    backend.detach(attachment)
    assert {path.name for path in attach(backend, volume).target.iterdir()} == {"before", "during"}


def test_no_subvolume_is_made_without_room(node: Node, ceph: Ceph) -> None:
    """The manager says it in its own way. What there is can be removed, unless it has snapshots:
    for those the manager writes a file."""
    backend, room = node(), Room(ceph, "osd")
    waste = wasted(backend, Layout.FILESYSTEM)
    kept = wasted(backend, Layout.FILESYSTEM, "kept", "one")
    room.end()
    try:
        with pytest.raises(NoSpace, match="full or a quota is reached"):
            make(backend, Layout.FILESYSTEM)
        removed(backend, waste)
        with pytest.raises(NoSpace, match="full or a quota is reached"):
            backend.snapshot_remove(kept, "one", claim=None)
        with pytest.raises(NoSpace, match="full or a quota is reached"):
            backend.remove(kept)
    finally:
        room.back()
    removed(backend, kept)
    attachment = attach(backend, make(backend, Layout.FILESYSTEM))
    write(attachment.target / "after")
    ceph.wait_for(ceph.healthy, "HEALTH_OK after the test")
