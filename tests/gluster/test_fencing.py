"""A node that stops itself: the cut, what it does to a writer, and what comes after."""

import subprocess
import time

import pytest

from backends.base import Attachment, SelfFencing, Spec, Volume
from backends.errors import HostError
from backends.gluster import GlusterBackend
from backends.gluster.options import GlusterOptions
from backends.host import mountinfo, tcp
from backends.options import Size
from tests.gluster.conftest import Open
from tests.gluster.writing import Writer
from tests.lab.flushing import flush

pytestmark = pytest.mark.lab

LAYOUTS = pytest.mark.parametrize("size", [None, Size(64 << 20)], ids=["directory", "image"])


def make(backend: GlusterBackend, size: Size | None = None) -> Volume[GlusterOptions]:
    """A new volume `db`."""
    return backend.create(Spec("db", GlusterOptions(size=size), "0-1-2", "2026-01-01T00:00:00Z"))


def attach(backend: GlusterBackend, volume: Volume[GlusterOptions]) -> Attachment:
    """Attached where the driver would."""
    return backend.attach(volume, backend.context.mounts / volume.name, claim=None)


@LAYOUTS
def test_after_the_cut_writes_fail_and_nothing_arrives(open_node: Open, size: Size | None) -> None:
    a, b = open_node("a"), open_node("b")
    assert isinstance(a, SelfFencing)
    volume = make(a, size)
    cut = attach(a, volume)
    with Writer(cut.target / "lines") as writer:
        writer.wait_for(20)
        begun = time.monotonic()
        a.cut_off(cut)
        took = time.monotonic() - begun
        writer.wait_failed(seconds=5)
        acknowledged = writer.acknowledged()
    assert took < 2
    assert [one.healthy for one in a.attachments()] == [False]
    other = attach(b, volume)
    lines = other.target / "lines"
    seen = lines.read_bytes()
    assert len(seen.splitlines()) in (acknowledged, acknowledged + 1)
    time.sleep(1)
    assert lines.read_bytes() == seen
    b.detach(other)
    a.detach(cut)
    assert not cut.target.exists()
    assert mountinfo.top(mountinfo.read(), str(a.clients.points / volume.uuid)) is None


@LAYOUTS
def test_a_cut_attachment_is_covered_by_a_fresh_one(open_node: Open, size: Size | None) -> None:
    """Covered, not taken away: what covers a dead mount reaches running containers."""
    a = open_node("a")
    volume = make(a, size)
    cut = attach(a, volume)
    (cut.target / "f").write_text("before")
    flush(cut.target / "f")
    a.cut_off(cut)
    fresh = attach(a, volume)
    assert fresh.healthy
    assert fresh.device != cut.device
    assert (fresh.target / "f").read_text() == "before"
    here = [m.device for m in mountinfo.read() if m.point == str(fresh.target)]
    assert here == [cut.device, fresh.device]
    a.detach(fresh)
    assert not a.attachments()
    assert not fresh.target.exists()


def test_the_cut_is_that_of_one_volume(open_node: Open) -> None:
    a = open_node("a")
    volume = make(a)
    spared = a.create(Spec("spared", GlusterOptions(), "3-4", "2026-01-01T00:00:00Z"))
    cut, other = attach(a, volume), attach(a, spared)
    with Writer(other.target / "lines") as writer:
        writer.wait_for(5)
        a.cut_off(cut)
        a.cut_off(cut)
        writer.wait_for(20)
        assert writer.longest() < 2
    assert {one.name: one.healthy for one in a.attachments()} == {"db": False, "spared": True}
    assert a.get("db") == volume


@LAYOUTS
def test_a_client_that_is_lost_sight_of_is_cut_off_too(open_node: Open, size: Size | None) -> None:
    a = open_node("a")
    volume = make(a, size)
    cut = attach(a, volume)
    with Writer(cut.target / "lines") as writer:
        writer.wait_for(5)
        client = a.clients.client(volume.uuid)
        client.point.with_name(f"{volume.uuid}.pid").unlink()
        subprocess.run(["umount", "-l", str(client.point)], check=True)
        a.cut_off(cut)
        writer.wait_failed(seconds=5)
    assert [one.healthy for one in a.attachments()] == [False]


def test_a_dead_client_reads_as_unhealthy(open_node: Open) -> None:
    a = open_node("a")
    volume = make(a)
    attachment = attach(a, volume)
    pid = a.clients.client(volume.uuid).daemon.pid()
    assert pid is not None
    subprocess.run(["kill", "-9", str(pid)], check=True)
    while a.clients.client(volume.uuid).daemon.alive():
        time.sleep(0.01)
    assert [one.healthy for one in a.attachments()] == [False]
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        (attachment.target / "f").write_text("lost")
    fresh = attach(a, volume)
    (fresh.target / "f").write_text("kept")
    a.detach(fresh)


def test_the_client_outlives_the_service(open_node: Open) -> None:
    """Another process of the same node finds the attachment as it was, and can end it."""
    a = open_node("a")
    volume = make(a)
    attachment = attach(a, volume)
    with Writer(attachment.target / "lines") as writer:
        writer.wait_for(5)
        again = open_node("a")
        assert again.attachments() == [attachment]
        assert attach(again, volume) == attachment
        writer.wait_for(5)
    again.detach(attachment)
    assert a.attachments() == []


def test_nothing_can_be_made_where_a_client_is_not_mounted(open_node: Open) -> None:
    a = open_node("a")
    volume = make(a)
    attach(a, volume)
    client = a.clients.client(volume.uuid)
    a.cut_off(a.attachments()[0])
    subprocess.run(["umount", "-l", str(client.point)], check=True)
    with pytest.raises(PermissionError):
        (client.point / "stray").write_text("x")


def test_a_cut_that_is_not_certain_says_so(
    open_node: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tcp, "destroy_all", refused)
    a = open_node("a")
    cut = attach(a, make(a))
    with pytest.raises(HostError, match="CAP_NET_ADMIN"):
        a.cut_off(cut)
    with pytest.raises(OSError, match="not connected"):
        (cut.target / "f").write_text("lost")
