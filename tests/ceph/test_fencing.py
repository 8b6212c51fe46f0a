"""Two nodes and one volume: who takes over shuts the other out, in the cluster."""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Attachment, Fences, Spec, Volume
from backends.ceph import CephBackend
from backends.ceph.options import CephOptions, Layout
from backends.ceph.sessions import Sessions
from backends.claims import Claim, Stale
from backends.errors import Fenced, InUse
from backends.host.waiting import wait_until
from backends.options import Size
from tests.ceph.conftest import Node
from tests.lab.ceph import Ceph

pytestmark = pytest.mark.lab

LAYOUTS = pytest.mark.parametrize("layout", list(Layout), ids=lambda layout: layout.value)


def make(
    backend: CephBackend, layout: Layout, size: int = 64 * 2**20, name: str = "db"
) -> Volume[CephOptions]:
    options = CephOptions(layout=layout, size=Size(size))
    return backend.create(Spec(name, options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))


def claim(backend: CephBackend, volume: Volume[CephOptions], epoch: int) -> Claim:
    return Claim(volume.uuid, backend.context.node, "session", epoch)


def attach(
    backend: CephBackend, volume: Volume[CephOptions], epoch: int | None = None
) -> Attachment:
    right = claim(backend, volume, epoch) if epoch else None
    return backend.attach(volume, backend.context.mounts / volume.name, claim=right)


class Writer:
    """A program that keeps its file open and appends durable lines, as a database does."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, line: str) -> None:
        self.append(line)
        self.sync()

    def append(self, line: str) -> None:
        """Not durable yet."""
        os.write(self._file, line.encode() + b"\n")

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)


class Attempt(threading.Thread):
    """A write that must fail, however long it takes."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(daemon=True)
        self._writer = writer
        self._error: OSError | None = None
        self.acknowledged = False
        self.start()

    def run(self) -> None:
        try:
            self._writer.write("too late")
            self.acknowledged = True
        except OSError as error:
            self._error = error

    def was_refused(self, seconds: float = 30) -> bool:
        self.join(seconds)
        return not self.is_alive() and self._error is not None


@contextlib.contextmanager
def writer(attachment: Attachment) -> Iterator[Writer]:
    opened = Writer(attachment.target / "log")
    try:
        yield opened
    finally:
        opened.close()


@LAYOUTS
def test_without_a_claim_a_volume_in_use_is_refused(node: Node, layout: Layout) -> None:
    one, two = node("one"), node("two")
    volume = make(one, layout)
    attachment = attach(one, volume)
    with pytest.raises(InUse, match="node one"):
        attach(two, volume)
    with pytest.raises(InUse, match="node one"):
        two.remove(volume)
    with writer(attachment) as log:
        log.write("still mine")
    one.detach(attachment)
    two.detach(attach(two, volume))
    two.remove(volume)


@LAYOUTS
def test_who_takes_over_shuts_the_other_out(node: Node, layout: Layout) -> None:
    """The old writer is alive and well; his next write fails, and only acknowledged lines and the
    new writer's are ever seen."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    with writer(old := attach(one, volume, 1)) as stale:
        stale.write("one 1")
        began = time.monotonic()
        new = attach(two, volume, 2)
        took = time.monotonic() - began
        with writer(new) as log:
            log.write("two 2")
        attempt = Attempt(stale)
        attempt.join(2)
        assert (new.target / "log").read_text() == "one 1\ntwo 2\n"
        with contextlib.suppress(InUse):
            one.detach(old)
        assert attempt.was_refused()
    assert took < 10, "the cluster waited for the old client to time out"
    one.detach(old)
    two.detach(new)
    again = attach(one, volume, 3)
    assert (again.target / "log").read_text() == "one 1\ntwo 2\n"


@LAYOUTS
def test_a_client_that_the_cluster_has_forgotten_is_shut_out_too(
    node: Node, layout: Layout, ceph: Ceph
) -> None:
    """After a cut its watch or session ends by itself; when it is back it may write again, unless
    somebody remembers its address. Here the address is all that is looked at."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    old = attach(one, volume, 1)
    (session,) = Sessions(two.records).of(volume.uuid)
    new = attach(two, volume, 2)
    until = {entry["addr"]: entry["until"] for entry in ceph.mon("osd blocklist ls")}
    assert until[session.address] > time.strftime(
        "%Y-%m-%d", time.gmtime(time.time() + 300 * 86400)
    )
    one.detach(old)
    two.detach(new)


@LAYOUTS
def test_a_claimant_that_overslept_touches_nobody(node: Node, layout: Layout) -> None:
    """It was superseded while it was about to take over."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    attachment = attach(two, volume, 6)
    with pytest.raises(Fenced):
        attach(one, volume, 5)
    assert isinstance(one, Fences)
    with pytest.raises(Fenced):
        one.fence(volume, [Stale(4, "two", "session", one.fence_facts(volume))])
    assert list(one.attachments()) == []
    with writer(attachment) as log:
        log.write("two 6")


@LAYOUTS
def test_what_a_dead_node_left_is_no_hindrance(node: Node, layout: Layout, ceph: Ceph) -> None:
    """Its processes are gone without a word, as after a power cut."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    old = attach(one, volume, 1)
    with writer(old) as log:
        log.write("one 1")
    for pid in ceph.clients():
        os.kill(pid, 9)
    began = time.monotonic()
    new = attach(two, volume, 2)
    assert time.monotonic() - began < 10, "the cluster waited for the old client to time out"
    assert (new.target / "log").read_text() == "one 1\n"
    assert [one.healthy for one in one.attachments()] == [False]
    one.detach(old)


def test_a_fenced_subvolume_reads_as_unhealthy(node: Node) -> None:
    one, two = node("one"), node("two")
    volume = make(one, Layout.FILESYSTEM)
    old = attach(one, volume, 1)
    attach(two, volume, 2)
    assert list(one.attachments()) == [replace(old, healthy=False)]


def test_who_waits_for_a_fenced_image_is_set_free(node: Node) -> None:
    """librbd may keep a reader of a blocklisted image waiting for ever; the node ends it."""
    one, two = node("one"), node("two")
    volume = make(one, Layout.DISK)
    with writer(old := attach(one, volume, 1)) as stale:
        stale.write("one 1")
        new = attach(two, volume, 2)
        attempt = Attempt(stale)
        attempt.join(1)
        with contextlib.suppress(InUse):
            one.detach(old)
        assert attempt.was_refused()
    one.detach(old)
    assert list(one.attachments()) == []
    assert (new.target / "log").read_text() == "one 1\n"
    two.detach(new)
    assert attach(one, volume, 3).healthy


def test_a_fenced_image_is_never_attached_again_as_it_is(node: Node) -> None:
    one, two = node("one"), node("two")
    volume = make(one, Layout.DISK)
    old = attach(one, volume, 1)
    new = attach(two, volume, 2)
    with writer(new) as log:
        log.write("two 2")
    two.detach(new)
    again = attach(one, volume, 3)
    assert (again.target / "log").read_text() == "two 2\n"
    with writer(again) as log:
        log.write("one 3")
    one.detach(again)
    assert list(one.attachments()) == []
    assert old.target == again.target


def test_a_shared_volume_is_written_by_two_nodes(node: Node) -> None:
    one, two = node("one"), node("two")
    options = CephOptions(layout=Layout.FILESYSTEM, access=type(CephOptions().access).SHARED)
    volume = one.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    first, second = attach(one, volume), attach(two, volume)
    for attachment in (first, second, first):
        with writer(attachment) as log:
            log.write(str(attachment.target.parent.parent.name))
    assert (second.target / "log").read_text() == "one\ntwo\none\n"


@LAYOUTS
def test_no_write_is_acknowledged_once_the_fence_is_up(node: Node, layout: Layout) -> None:
    """Neither at once nor a little later; a cache in the client must not say otherwise."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    with writer(attach(one, volume, 1)) as stale:
        stale.write("one 1")
        two.fence(volume, [Stale(1, "one", "session", one.fence_facts(volume))])
        for _ in range(5):
            attempt = Attempt(stale)
            attempt.join(1)
            assert not attempt.acknowledged
    assert (attach(two, volume, 2).target / "log").read_text() == "one 1\n"


@LAYOUTS
def test_what_was_written_before_the_fence_is_there_or_its_fsync_fails(
    node: Node, layout: Layout
) -> None:
    """A client that learns that it is shut out forgets what it has not sent; it must not say then
    that there is nothing left to send."""
    one, two = node("one"), node("two")
    volume = make(one, layout)
    with writer(attach(one, volume, 1)) as stale:
        stale.write("one 1")
        stale.append("one 2")
        new = attach(two, volume, 2)
        if layout is Layout.FILESYSTEM:
            assert wait_until(lambda: not any(found.healthy for found in one.attachments()), 30)
        try:
            stale.sync()
            confirmed = True
        except OSError:
            confirmed = False
        found = (new.target / "log").read_text()
    assert found in ("one 1\n", "one 1\none 2\n")
    assert not confirmed or found.endswith("one 2\n")
