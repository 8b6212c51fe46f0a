"""What the contract of snapshots does not ask: cut off halfway, of what moves, copied whole."""

import fcntl
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from backends.base import Growth, Spec, Volume
from backends.ceph import CephBackend, bindings, filesystem_snapshots
from backends.ceph.options import CephOptions, Layout
from backends.errors import HostError, InUse, Unavailable
from backends.host import freezing
from backends.host.filesystems import FileSystem
from backends.options import Size
from backends.snapshots import Source
from tests.ceph.conftest import Node
from tests.ceph.test_fencing import LAYOUTS, attach, make, writer
from tests.lab.ceph import Ceph

pytestmark = pytest.mark.lab

CREATED = "2026-02-03T04:05:06Z"


def put(backend: CephBackend, volume: Volume[CephOptions], text: str) -> None:
    attachment = attach(backend, volume)
    (attachment.target / "f").write_text(text)
    backend.detach(attachment)


def got(backend: CephBackend, volume: Volume[CephOptions]) -> str:
    attachment = attach(backend, volume)
    try:
        return (attachment.target / "f").read_text()
    finally:
        backend.detach(attachment)


def snapshot(backend: CephBackend, volume: Volume[CephOptions], **attached: object) -> None:
    where = {"attachment": None, "claim": None} | attached
    backend.snapshot_create(volume, "one", created=CREATED, **where)  # type: ignore[arg-type]


def clone(backend: CephBackend, name: str = "copy") -> Volume[CephOptions]:
    """A volume from the snapshot `one` of `db`."""
    options = CephOptions(from_=Source("db", "one"))
    return backend.create(Spec(name, options, str(uuid.uuid4()), CREATED))


def prepared(backend: CephBackend, layout: Layout) -> Volume[CephOptions]:
    """A volume that has changed since its snapshot."""
    volume = make(backend, layout)
    put(backend, volume, "then")
    snapshot(backend, volume)
    put(backend, volume, "now")
    return volume


Interrupt = Callable[[CephBackend, Volume[CephOptions]], None]


@pytest.fixture
def interrupted(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Begins to go back, and gets no further than having begun."""

    def interrupt(backend: CephBackend, volume: Volume[CephOptions]) -> None:
        if volume.options.layout is Layout.DISK:
            with (
                ceph.admin_pool() as pool,
                bindings.rbd().Image(pool, f"kedge-{volume.uuid}") as image,
            ):
                image.metadata_set("kedge.restoring", f"{CREATED}_one")
            return

        def dies(source: object, new: object) -> None:
            raise HostError("cut off")

        with monkeypatch.context() as patched:
            patched.setattr(filesystem_snapshots, "copy_tree", dies)
            with pytest.raises(HostError, match="cut off"):
                backend.snapshot_restore(volume, "one", claim=None)

    return interrupt


@LAYOUTS
def test_going_back_that_was_cut_off_is_finished_by_who_attaches(
    node: Node, layout: Layout, interrupted: Interrupt
) -> None:
    backend = node()
    volume = prepared(backend, layout)
    interrupted(backend, volume)
    assert got(node("another"), volume) == "then"


@LAYOUTS
def test_a_snapshot_is_not_removed_from_under_who_goes_back_to_it(
    node: Node, layout: Layout, interrupted: Interrupt
) -> None:
    backend = node()
    volume = prepared(backend, layout)
    interrupted(backend, volume)
    backend.snapshot_remove(volume, "one", claim=None)
    assert got(backend, volume) == "then"
    assert list(backend.snapshot_list(volume)) == []


@LAYOUTS
def test_a_snapshot_of_what_is_written_to_holds_what_was_confirmed(
    node: Node, layout: Layout
) -> None:
    """And writers go on afterwards."""
    backend = node()
    volume = make(backend, layout, 512 * 2**20)
    attachment = attach(backend, volume)
    stop, lines = threading.Event(), [0]

    def write() -> None:
        with writer(attachment) as log:
            while not stop.is_set():
                log.write(str(lines[0] + 1))
                lines[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while lines[0] < 20:
            thread.join(0.01)
        before = lines[0]
        snapshot(backend, volume, attachment=attachment)
        after = lines[0]
        while lines[0] < after + 20:
            assert thread.is_alive()
            thread.join(0.01)
    finally:
        stop.set()
        thread.join(60)
    kept = (attach(backend, clone(backend)).target / "log").read_text().split()
    assert before <= len(kept) <= after + 1
    assert kept == [str(number + 1) for number in range(len(kept))]


@LAYOUTS
def test_a_clone_has_links_attributes_and_pipes(node: Node, layout: Layout) -> None:
    """Hard links, attributes, pipes, holes; made while another node has the source attached."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    attachment = attach(one, volume)
    top = attachment.target
    (top / "a").write_text("linked")
    os.link(top / "a", top / "b")
    os.setxattr(top / "a", "user.kept", b"yes")
    os.mkfifo(top / "pipe")
    os.symlink("a", top / "symbolic")
    snapshot(one, volume, attachment=attachment)
    copy = attach(two, clone(two)).target
    assert (copy / "a").stat().st_ino == (copy / "b").stat().st_ino
    assert os.getxattr(copy / "a", "user.kept") == b"yes"
    assert (copy / "pipe").is_fifo()
    assert os.readlink(copy / "symbolic") == "a"
    with writer(attachment) as log:
        log.write("the source's writer was not disturbed")
    with pytest.raises(InUse, match="node one"):
        two.snapshot_restore(volume, "one", claim=None)


@LAYOUTS
def test_a_snapshot_of_somebody_else_keeps_the_data(node: Node, layout: Layout, ceph: Ceph) -> None:
    backend = node()
    volume = make(backend, layout)
    by_hand(ceph, volume, "create")
    assert list(backend.snapshot_list(volume)) == []
    with pytest.raises(Unavailable, match="snapshots"):
        backend.remove(volume)
    by_hand(ceph, volume, "rm")
    backend.remove(volume)
    assert list(backend.volumes()) == []


def by_hand(ceph: Ceph, volume: Volume[CephOptions], verb: str) -> None:
    """What an administrator does without kedge: a snapshot `backup`."""
    if volume.options.layout is Layout.DISK:
        with (
            ceph.admin_pool() as pool,
            bindings.rbd().Image(pool, f"kedge-{volume.uuid}") as image,
        ):
            {"create": image.create_snap, "rm": image.remove_snap}[verb]("backup")
        return
    named = {"vol_name": ceph.fs, "sub_name": volume.uuid, "group_name": "kedge"}
    ceph.mgr(f"fs subvolume snapshot {verb}", snap_name="backup", **named)


@LAYOUTS
def test_a_clone_may_be_larger(node: Node, layout: Layout) -> None:
    backend = node()
    prepared(backend, layout)
    options = replace(CephOptions(from_=Source("db", "one")), size=Size(256 * 2**20))
    large = backend.create(Spec("large", options, str(uuid.uuid4()), CREATED))
    attachment = attach(backend, large)
    assert (attachment.target / "f").read_text() == "then"
    size = backend.usage(attachment).size
    assert size is not None
    assert size > 200 * 2**20


def test_xfs_grows_in_use_and_its_clone_is_mounted_beside_it(node: Node) -> None:
    """A clone has the identity of its source's file system."""
    backend = node()
    options = CephOptions(layout=Layout.DISK, size=Size(400 * 2**20), fs=FileSystem.XFS)
    volume = backend.create(Spec("db", options, str(uuid.uuid4()), CREATED))
    attachment = attach(backend, volume)
    with writer(attachment) as log:
        log.write("then")
    assert backend.resize("db", Size(600 * 2**20), attachment) is Growth.ONLINE
    size = backend.usage(attachment).size
    assert size is not None
    assert size > 450 * 2**20
    snapshot(backend, backend.get("db"), attachment=attachment)
    copy = attach(backend, clone(backend))
    assert (copy.target / "log").read_text() == "then\n"


def test_what_a_dead_service_left_frozen_is_thawed(node: Node) -> None:
    """Killed together with the process that would have ended the freeze."""
    backend = node()
    volume = make(backend, Layout.DISK)
    attachment = attach(backend, volume)
    notes = backend.context.state / "frozen"
    notes.mkdir(mode=0o700)
    (notes / volume.uuid).touch()
    target = os.open(attachment.target, os.O_RDONLY)
    try:
        fcntl.ioctl(target, freezing.FIFREEZE, 0)
        assert list(CephBackend(backend.settings, backend.context).attachments()) == [attachment]
        assert not freezing.thaw(target), "it was still frozen"
    finally:
        freezing.thaw(target)
        os.close(target)
