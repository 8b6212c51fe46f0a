"""Snapshots of a volume in a bucket, with real FUSE, loop and file system (`make soak`)."""

import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.base import Spec
from backends.errors import Exists
from backends.options import Size, parse
from backends.s3.options import S3Options
from backends.snapshots import Source
from backends.stores.s3 import Endpoint, S3Store, connect
from tests.lab.test_s3 import endpoint, node

pytestmark = pytest.mark.lab
__all__ = ["endpoint"]


def test_snapshots_of_a_mounted_volume_clones_and_the_way_back(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """A snapshot while it is written to, one at rest; back to the first on another node; a volume
    from it that outlives its source; and in the end nothing but last fences."""
    client = connect(endpoint)
    client.create_bucket(Bucket="volumes")
    one, two = node(endpoint, tmp_path, "one"), node(endpoint, tmp_path, "two")
    options = parse(S3Options, {"size": "64M", "log": "128M", "cache": "16M"}, subject="db")
    volume = one.create(Spec("db", options, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    attached = one.attach(volume, one.context.mounts / "db", claim=None)
    (attached.target / "f").write_text("before")
    taken: dict[str, Any] = {"created": "2026-02-03T04:05:06Z", "claim": None}
    assert one.snapshot_create(volume, "a", attachment=attached, **taken).size == 64 << 20
    (attached.target / "f").write_text("after")
    one.detach(attached)
    one.snapshot_create(volume, "b", attachment=None, **taken)
    with pytest.raises(Exists):
        one.snapshot_create(volume, "b", attachment=None, **taken)
    assert [snapshot.name for snapshot in two.snapshot_list(volume)] == ["a", "b"]

    two.snapshot_restore(volume, "a", claim=None)
    moved = two.attach(volume, two.context.mounts / "db", claim=None)
    assert (moved.target / "f").read_text() == "before"
    two.detach(moved)

    wish = replace(options, from_=Source("db", "b"), size=Size(96 << 20))
    copy = one.create(Spec("copy", wish, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))
    one.snapshot_remove(volume, "b", claim=None)
    one.remove(volume)
    shown = one.attach(copy, one.context.mounts / "copy", claim=None)
    assert (shown.target / "f").read_text() == "after"
    assert (one.usage(shown).size or 0) > 64 << 20
    (shown.target / "g").write_bytes(os.urandom(1 << 20))
    one.detach(shown)
    one.remove(copy)
    left = [item.key for item in S3Store(lambda: client, "volumes", "p").list("disks/")]
    assert all("/log/" in key for key in left)
