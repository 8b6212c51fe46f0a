"""What is promised of sizes, of shared volumes and of a hung client, seen on a real pool.

In `make soak` for the time being: not seen often enough beside other work.
"""

import contextlib
import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.base import Access, Spec, Volume
from backends.errors import NotSupported, Unavailable
from backends.gluster import GlusterBackend
from backends.gluster.in_time import InTime
from backends.gluster.options import GlusterOptions
from backends.options import Size
from backends.tree.options import Layout
from tests.gluster.conftest import Open
from tests.gluster.test_faults import DEADLINE, eventually, timed
from tests.gluster.test_fencing import attach, make
from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab

MIB = 1 << 20


def made(backend: GlusterBackend, options: GlusterOptions) -> Volume[GlusterOptions]:
    """A new volume `db` with these options."""
    return backend.create(Spec("db", options, "0-1-2", "2026-01-01T00:00:00Z"))


def fill(file: Path, most: int) -> tuple[int, str]:
    """How many MiB were written and synced, of at most so many, and what the next one met."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        for number in range(most):
            try:
                os.write(descriptor, bytes([number]) * MIB)
                os.fsync(descriptor)
            except OSError as error:
                return number, errno.errorcode[error.errno or 0]
        return most, ""
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.parametrize("layout", list(Layout), ids=lambda layout: layout.value)
def test_a_writer_is_stopped_at_the_size(open_node: Open, with_quota: None, layout: Layout) -> None:
    """And what it had synced before stays."""
    a = open_node()
    attachment = attach(a, made(a, GlusterOptions(size=Size(64 * MIB), layout=layout)))
    synced, refused = fill(attachment.target / "f", 128)
    assert refused == ("ENOSPC" if layout is Layout.IMAGE else "EDQUOT")
    assert 40 <= synced <= 70
    content = (attachment.target / "f").read_bytes()
    assert content[: synced * MIB : MIB] == bytes(range(synced))
    a.detach(attachment)


def test_a_size_of_a_directory_where_quota_is_off(open_node: Open, pool: Pool) -> None:
    """Both ways out are named, and nothing is made."""
    name = pool.volume("without")
    try:
        a = open_node(volume=name)
        with pytest.raises(NotSupported) as refused:
            made(a, GlusterOptions(size=Size(64 * MIB), layout=Layout.DIRECTORY))
        assert "gluster volume quota without enable" in str(refused.value)
        assert "layout=image" in str(refused.value)
        assert a.volumes() == []
    finally:
        pool.remove_volume(name)


def test_a_shared_volume_has_no_snapshots(open_node: Open) -> None:
    """Another node may write it at any time."""
    a = open_node()
    volume = made(a, GlusterOptions(access=Access.SHARED))
    with pytest.raises(NotSupported, match="shared"):
        a.snapshot_create(volume, "s", created="2026-01-02T00:00:00Z", attachment=None, claim=None)
    assert a.snapshot_list(volume) == []


def test_a_client_that_answers_nobody_is_replaced(open_node: Open) -> None:
    """The pool is well, the process is there, and does nothing: stopped, as a stand-in. Its callers
    are told in time, and do not wait for it for ever."""
    a = open_node(patience=1.0)
    volume = make(a)
    stuck = a.control.client.daemon.pid()
    assert stuck is not None
    os.kill(stuck, signal.SIGSTOP)
    with ThreadPoolExecutor(InTime.MOST) as callers:
        calls = [callers.submit(timed, lambda: a.get("db")) for _ in range(InTime.MOST)]
        for took, error in [call.result() for call in calls]:
            assert isinstance(error, Unavailable)
            assert took < DEADLINE
    assert eventually(lambda: a.get("db")) == volume
    assert a.control.client.daemon.pid() != stuck
