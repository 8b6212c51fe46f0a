"""A cluster that is ill, away, full or configured wrongly: clear words in time, and recovery."""

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Level, Spec, Volume
from backends.ceph import CephBackend, bindings
from backends.ceph.connection import Connection
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.errors import Damaged, InvalidOptions, KedgeError, Unavailable
from backends.host.waiting import wait_until
from backends.options import Size
from tests.ceph.conftest import Node
from tests.ceph.test_fencing import LAYOUTS, Writer, attach, make, writer
from tests.lab.ceph import CAPABILITIES, Ceph

pytestmark = pytest.mark.lab

PATIENCE = 5.0 + 3.0
"""The profile's timeout, and what a busy machine adds."""


@pytest.fixture(autouse=True)
def _healthy_again(ceph: Ceph) -> Iterator[None]:
    yield
    ceph.wait_for(ceph.healthy, "HEALTH_OK after the test")


def fails(verb: Callable[[], object], seconds: float = PATIENCE) -> str:
    """`verb` raises Unavailable in time; what it says."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        verb()
    assert time.monotonic() - began < seconds
    return caught.value.message


def broken(settings: CephSettings, node: Node, **changes: Any) -> CephBackend:
    return node("wrong", replace(settings, **changes))


def works(backend: CephBackend, layout: Layout = Layout.DISK) -> None:
    """The same service, once what was wrong is mended."""
    volume = make(backend, layout)
    backend.detach(attach(backend, volume, 1))
    backend.remove(volume)
    assert [one for one in backend.findings() if one.level is Level.ERROR] == []


def test_a_keyring_that_is_not_there(
    settings: CephSettings, node: Node, keyring: Path, directory: Path
) -> None:
    absent = directory / "absent.keyring"
    backend = broken(settings, node, keyring=absent)
    assert f"{absent} cannot be read" in fails(lambda: backend.get("db"))
    (finding,) = backend.findings()
    assert finding.level is Level.ERROR
    assert str(absent) in finding.detail
    shutil.copy(keyring, absent)
    works(backend)


def test_a_key_that_the_cluster_does_not_know(
    settings: CephSettings, node: Node, keyring: Path, directory: Path
) -> None:
    wrong = directory / "wrong.keyring"
    wrong.write_text("[client.kedge]\n\tkey = AQC0uwRraJ3rBxAAZXplo+DcjIVMlen4Dcv4ww==\n")
    backend = broken(settings, node, keyring=wrong)
    assert "check its keyring and capabilities" in fails(lambda: backend.get("db"))
    shutil.copy(keyring, wrong)
    works(backend)


def test_a_client_without_a_capability(settings: CephSettings, node: Node, ceph: Ceph) -> None:
    allowed = {**CAPABILITIES, "mgr": "allow profile rbd"}
    backend = broken(settings, node, client="less", keyring=ceph.key("less", **allowed))
    assert "capabilities" in fails(lambda: make(backend, Layout.FILESYSTEM))
    (finding,) = [one for one in backend.findings() if one.level is Level.ERROR]
    assert "allow module volumes rw" in finding.advice
    may(ceph, "less", **CAPABILITIES)
    ceph.wait_for(lambda: _makes(backend), "the new capabilities count")
    works(backend, Layout.FILESYSTEM)


def may(ceph: Ceph, client: str, **capabilities: str) -> None:
    """Give a client exactly these capabilities."""
    caps = [word for pair in capabilities.items() for word in pair]
    ceph.mon("auth caps", entity=f"client.{client}", caps=caps)


def _makes(backend: CephBackend) -> bool:
    with contextlib.suppress(Unavailable):
        backend.remove(make(backend, Layout.FILESYSTEM, name="first"))
        return True
    return False


@LAYOUTS
def test_a_client_that_may_not_blocklist_takes_nothing_over(
    settings: CephSettings, node: Node, ceph: Ceph, layout: Layout
) -> None:
    """Without the fence there is no takeover; the doctor says so before it is needed."""
    tame = {**CAPABILITIES, "mon": "allow r"}
    one = node("one")
    two = broken(
        settings,
        node,
        client=f"tame-{layout.value}",
        keyring=ceph.key(f"tame-{layout.value}", **tame),
    )
    volume = make(one, layout)
    with writer(attach(one, volume, 1)) as log:
        log.write("one 1")
        (finding,) = [found for found in two.findings() if found.level is Level.ERROR]
        assert (finding.subject, "profile rbd" in finding.advice) == ("fence", True)
        assert "capabilities" in fails(lambda: attach(two, volume, 2))
        assert list(two.attachments()) == []
        log.write("still one")
    may(ceph, f"tame-{layout.value}", **CAPABILITIES)
    ceph.wait_for(lambda: _taken(two, volume), "the new capabilities count")
    assert (two.context.mounts / "db/log").read_text() == "one 1\nstill one\n"


def _taken(backend: CephBackend, volume: Volume[CephOptions]) -> bool:
    with contextlib.suppress(Unavailable):
        attach(backend, volume, 2)
        return True
    return False


def test_a_pool_that_does_not_exist(settings: CephSettings, node: Node, ceph: Ceph) -> None:
    allowed = {**CAPABILITIES, "osd": "profile rbd pool=missing"}
    key = ceph.key("poolless", **allowed)
    backend = broken(settings, node, pool="missing", client="poolless", keyring=key)
    assert "pool 'missing' does not exist" in fails(lambda: backend.get("db"))
    fails(backend.volumes)
    assert "does not exist" in str([one for one in backend.findings() if one.level is Level.ERROR])
    ceph.mon("osd pool create", pool="missing", pg_num=4)
    ceph.mon("osd pool application enable", pool="missing", app="rbd")
    try:
        works(backend)
    finally:
        gone = {"pool2": "missing", "yes_i_really_really_mean_it": True}
        ceph.mon("osd pool delete", pool="missing", **gone)


def test_a_cephfs_that_does_not_exist(settings: CephSettings, node: Node) -> None:
    backend = broken(settings, node, fs="missing")
    assert "missing" in fails(lambda: make(backend, Layout.FILESYSTEM))


def test_a_profile_without_a_cephfs_has_disks_only(settings: CephSettings, node: Node) -> None:
    backend = broken(settings, node, fs=None, layout=Layout.DISK)
    with pytest.raises(InvalidOptions, match="names no CephFS"):
        make(backend, Layout.FILESYSTEM)
    made = make(backend, Layout.DISK)
    assert made.options.layout is Layout.DISK


def test_nobody_is_at_the_address(settings: CephSettings, node: Node) -> None:
    backend = broken(settings, node, monitors="127.9.9.9:3300", timeout=2.0)
    threads = [threading.Thread(target=lambda: fails(lambda: backend.get("db"))) for _ in range(5)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 2 * PATIENCE, "they waited one after the other"


def test_monitors_may_be_given_instead_of_a_file(
    settings: CephSettings, node: Node, ceph: Ceph
) -> None:
    backend = broken(settings, node, monitors=ceph.mon_host, conf=Path("/nowhere/ceph.conf"))
    for layout in Layout:
        volume = make(backend, layout)
        backend.detach(attach(backend, volume))
        backend.remove(volume)


def test_a_connection_that_was_closed_leaves_no_thread(settings: CephSettings, ceph: Ceph) -> None:
    """librados looks for its cluster for ever, in a dozen threads for each connection."""

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    connection = Connection(settings, ("client_mount_timeout",))
    handle = connection.handle()
    assert threads() > before
    connection.close()
    assert handle.get_fsid(), "whoever still uses it may go on"
    del handle
    wait_until(lambda: threads() <= before, 10)
    assert threads() <= before


def test_bindings_that_are_missing(
    settings: CephSettings, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = node("bare")

    def missing() -> None:
        bindings.load("radosx")

    monkeypatch.setattr(bindings, "rados", missing)
    assert "install python3-rados" in fails(lambda: backend.get("db"))


@LAYOUTS
def test_data_that_were_deleted_behind_our_back(node: Node, layout: Layout, ceph: Ceph) -> None:
    backend = node()
    volume = make(backend, layout)
    if layout is Layout.DISK:
        bindings.rbd().RBD().remove(ceph.admin_pool(), f"kedge-{volume.uuid}")
    else:
        ceph.mgr("fs subvolume rm", vol_name=ceph.fs, sub_name=volume.uuid, group_name="kedge")
    with pytest.raises(Damaged, match="missing"):
        attach(backend, volume)
    assert list(backend.attachments()) == []
    backend.remove(volume)
    assert list(backend.volumes()) == []


def fill(path: Path, piece: bytes) -> None:
    with path.open("wb") as file:
        for _ in range(200):
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            time.sleep(0.05)


@LAYOUTS
def test_the_size_is_enforced(node: Node, layout: Layout) -> None:
    """An image is full when it is full; a quota stops its writer a few seconds late."""
    backend = node()
    attachment = attach(backend, make(backend, layout))
    with pytest.raises(OSError, match=r"No space|quota"):
        fill(attachment.target / "f", os.urandom(2**20))
    size = backend.usage(attachment).size
    assert size is not None
    assert size <= 64 * 2**20
    (attachment.target / "f").unlink()


@LAYOUTS
def test_a_monitor_that_is_stopped_stalls_no_writer_and_no_caller(
    node: Node, layout: Layout, ceph: Ceph
) -> None:
    backend = node()
    volume = make(backend, layout)
    writer = Writer(attach(backend, volume).target / "log")
    ceph.signal("mon.a", signal.SIGSTOP)
    try:
        writer.write("the data path needs no monitor")
        fresh = node("late")
        fails(lambda: fresh.get("db"), 2 * PATIENCE)
        assert [one.healthy for one in backend.attachments()] == [True]
    finally:
        ceph.signal("mon.a", signal.SIGCONT)
    writer.close()
    ceph.wait_for(ceph.healthy, "HEALTH_OK")
    assert backend.get("db") == volume
    assert fresh.get("db") == volume


def test_a_monitor_that_dies_and_comes_back(node: Node, ceph: Ceph) -> None:
    """The service that asked meanwhile needs no restart, and neither does a new one."""
    backend = node()
    volume = make(backend, Layout.DISK)
    attachment = attach(backend, volume)
    ceph.kill("mon.a")
    fresh = node("late")
    fails(lambda: fresh.get("db"), 2 * PATIENCE)
    assert [one.level for one in fresh.findings()] == [Level.ERROR]
    with (attachment.target / "f").open("w") as file:
        file.write("the data path needs no monitor")
        os.fsync(file.fileno())
    ceph.spawn("mon.a")
    ceph.wait_for(ceph.healthy, "HEALTH_OK")
    assert backend.get("db") == fresh.get("db") == volume
    backend.detach(attachment)
    backend.remove(volume)


def test_a_mgr_that_hangs_hangs_no_call(node: Node, ceph: Ceph) -> None:
    backend = node()
    volume = make(backend, Layout.FILESYSTEM)
    ceph.signal("mgr.x", signal.SIGSTOP)
    try:
        fails(lambda: make(backend, Layout.FILESYSTEM, name="other"), 3 * PATIENCE)
        assert backend.get("db") == volume, "what exists is known without a manager"
    finally:
        ceph.signal("mgr.x", signal.SIGCONT)
    ceph.wait_for(ceph.healthy, "HEALTH_OK")
    backend.remove(make(backend, Layout.FILESYSTEM, name="other"))


@LAYOUTS
def test_an_osd_that_dies_and_comes_back(node: Node, layout: Layout, ceph: Ceph) -> None:
    backend = node()
    volume = make(backend, layout)
    attachment = attach(backend, volume)
    writer = Writer(attachment.target / "log")
    writer.write("before")
    ceph.kill("osd.0")
    ceph.mon("osd down", ids=["0"])
    assert "in time" in fails(lambda: backend.get("db"))
    late = threading.Thread(target=writer.write, args=("during",))
    late.start()
    late.join(1.0)
    assert late.is_alive(), "a write was acknowledged by nobody"
    ceph.spawn("osd.0")
    late.join(60)
    assert not late.is_alive()
    writer.close()
    assert backend.get("db") == volume
    assert (attachment.target / "log").read_text() == "before\nduring\n"
    backend.detach(attachment)
    again = attach(backend, volume)
    assert (again.target / "log").read_text() == "before\nduring\n"


def test_an_mds_that_is_restarted(node: Node, ceph: Ceph) -> None:
    backend = node()
    attachment = attach(backend, make(backend, Layout.FILESYSTEM))
    writer = Writer(attachment.target / "log")
    writer.write("before")
    ceph.kill("mds.a")
    ceph.spawn("mds.a")
    ceph.wait_for(ceph.mds_active, "the MDS is active")
    writer.write("after")
    writer.close()
    assert (attachment.target / "log").read_text() == "before\nafter\n"
    assert [one.healthy for one in backend.attachments()] == [True]


@LAYOUTS
def test_a_client_that_is_killed_reads_as_unhealthy_and_is_replaced(
    node: Node, layout: Layout, ceph: Ceph
) -> None:
    backend = node()
    volume = make(backend, layout)
    attachment = attach(backend, volume)
    writer = Writer(attachment.target / "f")
    writer.write("x")
    writer.close()
    for pid in ceph.clients():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while list(backend.attachments()) != [replace(attachment, healthy=False)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with_deadline = time.monotonic()
    backend.detach(attachment)
    again = attach(backend, volume)
    assert time.monotonic() - with_deadline < 20
    assert again.healthy


def test_a_client_outlives_the_service(node: Node) -> None:
    """Another process of the service finds what the first one left, and lets it go."""
    first = node()
    volume = make(first, Layout.FILESYSTEM)
    attachment = attach(first, volume)
    second = CephBackend(first.settings, first.context)
    assert list(second.attachments()) == [attachment]
    assert attach(second, volume) == attachment
    (attachment.target / "f").write_text("kept")
    second.detach(attachment)
    assert (attach(first, volume).target / "f").read_text() == "kept"


def test_every_option_is_explained_at_once(node: Node) -> None:
    options = CephOptions(layout=Layout.DISK, access=type(CephOptions().access).SHARED)
    with pytest.raises(InvalidOptions) as caught:
        node().create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    assert len(caught.value.problems) == 2
    options = CephOptions(layout=Layout.DISK, size=Size(12345))
    with pytest.raises(KedgeError, match="too small"):
        node().create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
