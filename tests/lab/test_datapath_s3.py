"""The server of a real disk in a bucket is killed while a load verifies itself."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Attachment, Context, Spec
from backends.disk.fuse.path import DataPath
from backends.errors import Unavailable
from backends.options import parse
from backends.s3 import S3Backend
from backends.s3.options import S3Options, S3Settings
from backends.stores.s3 import Endpoint, connect
from tests.lab.datapath import SECONDS, Fio, worst_pause
from tests.unit.stores.moto import moto_endpoint

pytestmark = pytest.mark.lab

KILLS = int(os.environ.get("KEDGE_KILLS", "6"))
SIZE = os.environ.get("KEDGE_KILL_SIZE", "60M")
DISK = os.environ.get("KEDGE_KILL_DISK", "256M")
BOUND = 10.0
"""Seconds; a machine that also plays the store is slow, and this is about errors."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with moto_endpoint() as found:
        connect(found).create_bucket(Bucket="killed")
        yield found


def backend(endpoint: Endpoint, home: Path) -> S3Backend:
    credentials = home / "credentials"
    credentials.write_text("[default]\naws_access_key_id=test\naws_secret_access_key=test\n")
    settings = S3Settings(
        bucket="killed",
        endpoint=endpoint.url,
        region="us-east-1",
        credentials=credentials,
        path_style=True,
    )
    return S3Backend(settings, Context("s3", "one", home / "mounts", home / "state"))


def kill(path: DataPath) -> float:
    """Kill the server; seconds until another one serves."""
    before, began = path.held(), time.monotonic()
    assert before is not None
    os.kill(before.server, signal.SIGKILL)
    while True:
        now = path.held()
        assert now is not None
        if now.server not in (0, before.server) and now.state == "serving":
            return time.monotonic() - began
        assert time.monotonic() - began < SECONDS, (path.directory / "log").read_text()
        time.sleep(0.01)


def let_go(node: S3Backend, attached: Attachment) -> None:
    """Detach; what is left of the log may take longer to send than one call waits."""
    until = time.monotonic() + 240
    while True:
        try:
            node.detach(attached)
            return
        except Unavailable:
            if time.monotonic() > until:
                raise


def test_server_of_a_disk_in_a_bucket_killed_under_load(endpoint: Endpoint, tmp_path: Path) -> None:
    node = backend(endpoint, tmp_path)
    options = parse(S3Options, {"size": DISK, "log": "256M", "cache": "64M"}, subject="db")
    volume = node.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    attached = node.attach(volume, tmp_path / "mounts" / "db", claim=None)
    path = DataPath(tmp_path / "state" / "paths" / volume.uuid, "db")
    fio = Fio(attached.target, tmp_path / "fio", size=SIZE)
    try:
        gone, kills = [], 0
        while kills < KILLS and fio.running():
            time.sleep(0.5)
            gone.append(kill(path))
            kills += 1
        job = fio.outcome(max(280, 60 * KILLS))
    finally:
        try:
            fio.kill()
        finally:  # a disk that stays behind without its store would hold up every sync of the host
            let_go(node, attached)
    assert (job["code"], job["error"]) == (0, 0), job["stderr"]
    assert job["read"]["total_ios"] == job["write"]["total_ios"] > 0
    assert kills == KILLS, "the load was over too soon"
    print(f"{kills} kills, away for at most {max(gone):.3f} s, longest {worst_pause(job):.3f} s")
    assert worst_pause(job) < BOUND
    again = node.attach(volume, tmp_path / "mounts" / "db", claim=None)
    assert again.healthy
    let_go(node, again)
