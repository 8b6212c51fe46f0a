"""Rows of the failure matrix (docs/s3-failures.md), each by its name, without a machine."""

from collections.abc import Callable

import pytest

from backends.disk.engine import Disk
from backends.errors import Fenced, Unavailable
from backends.stores.s3 import S3Store
from tests.unit.disk.test_checking import Bucket, image
from tests.unit.disk.world import BLOCKS, UUID, small_sizes


def opened(bucket: Bucket, claim: int, node: str) -> Disk:
    with small_sizes():
        return bucket.open(claim=claim, node=node)


def collected(disk: Disk, bucket: Bucket) -> None:
    """The owner writes everything anew, many times, and collects all that it can."""
    before = {key for key in bucket.store.objects if "/data/" in key or "/log/" in key}
    disk.parts.collector._grace = 0.0
    for stamp in range(100, 108):
        bucket.write(disk, 0, BLOCKS, stamp)
        disk.ship()
        disk.tend(commits=1)
    assert before - bucket.store.objects.keys(), "nothing was collected: this would prove nothing"


@pytest.mark.parametrize("act", [Disk.ship, Disk.checkpoint, lambda disk: disk.tend(commits=1)])
def test_process_or_vm_paused_for_long_then_resumed(act: Callable[[Disk], object]) -> None:
    """However much was written and collected meanwhile, the slot that it would write into is taken
    by a fence: it is fenced, and changes nothing."""
    with small_sizes():
        bucket = Bucket()
        bucket.heads.create(UUID, BLOCKS * 4096)
        paused = opened(bucket, 1, "one")
        bucket.write(paused, 0, 8, 1)
        paused.ship()
        bucket.write(paused, 0, 8, 2)
        owner = opened(bucket, 2, "two")
        collected(owner, bucket)
        with pytest.raises(Fenced, match="two"):
            act(paused)
        with pytest.raises(Fenced):
            paused.flush()
        with pytest.raises(Fenced):
            paused.write(0, bytes(4096), 0)
        assert owner.read(0, BLOCKS * 4096) == image(bucket)
        assert opened(bucket, 3, "three").read(0, BLOCKS * 4096) == image(bucket)


def test_old_node_returns_after_takeover() -> None:
    """What it reads may be old until it has been told; what it confirms never is."""
    with small_sizes():
        bucket = Bucket()
        bucket.heads.create(UUID, BLOCKS * 4096)
        old = opened(bucket, 1, "one")
        bucket.write(old, 0, 4, 1)
        old.ship()
        new = opened(bucket, 2, "two")
        before = len(bucket.store.objects)
        old.write(0, bytes(4096), 0)
        with pytest.raises(Fenced, match="written by node two"):
            old.ship()
        with pytest.raises(Fenced):
            old.flush()
        assert len([k for k in bucket.store.objects if "/log/" in k]) <= before
        assert new.read(0, BLOCKS * 4096) == image(bucket)


def test_clock_skew_is_said_in_words() -> None:
    """A store refuses a signature of another time; that is no other 403."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    class Skewed:
        def get_object(self, **_: object) -> None:
            raise ClientError(
                {
                    "Error": {"Code": "RequestTimeTooSkewed", "Message": "too large"},
                    "ResponseMetadata": {"HTTPStatusCode": 403},
                },
                "GetObject",
            )

    with pytest.raises(Unavailable, match="this machine's clock differs too much"):
        S3Store(Skewed, "bucket").get("key")
