"""The image that another node would see if this one were lost at any of many moments: the file
system recovers by itself, is found clean, and holds a prefix of what was written.

Each commit record in the bucket is such a moment. The images are built by the dumper that shares
no code with the disk (`inspection/dump.py`). `make soak` takes many more moments, also of xfs.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.disk.inspection.dump import dump
from backends.stores.s3 import S3Store, connect
from tests.lab.datapath import Fio
from tests.lab.object_store import ObjectStore
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import BUCKET, Node, nodes

__all__ = ["home", "server"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

CUTS = int(os.environ.get("KEDGE_CUTS", "12"))
ROUNDS = int(os.environ.get("KEDGE_CUTS_ROUNDS", "1"))
"""A load makes fewer records than 64 in most rounds: behind those there is a checkpoint, and the
images before it can no longer be built."""
FILE_SYSTEMS = os.environ.get("KEDGE_CUTS_FS", "ext4").split(",")
SIZES = {"ext4": ("128M", 128 << 20), "xfs": ("512M", 512 << 20)}
CHECKS = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"]}


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_every_moment_is_a_sound_file_system(
    server: ObjectStore, home: Path, fs: str, turn: int
) -> None:
    prefix = f"cuts-{fs}-{turn}"
    with nodes(server, home, "one", prefix=prefix) as (one,):
        text, _ = SIZES[fs]
        volume = one.create(size=text, fs=fs, rpo="0.05")
        one.attach(volume, 1)
        written = loaded(one, home)
        one.pause()  # nothing is deleted while it is copied
        keys, get = bucket(server, prefix)
        counts = []
        for cut in moments(keys, volume.uuid):
            image = home / "image"
            build(image, keys, get, volume.uuid, cut, SIZES[fs][1])
            with mounted(image, home / "view") as view:
                counts.append(lines(view / "data" / "ledger"))
            done = subprocess.run([*CHECKS[fs], image], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"cut at record {cut}: {done.stdout}{done.stderr}"
            image.unlink()
    print(f"{fs}: {len(counts)} moments, {counts[0]} to {counts[-1]} lines of {written}")
    assert len(counts) >= min(CUTS, 4), "too few moments to prove anything"
    assert counts == sorted(counts), "a later moment lacks what an earlier one had"
    assert counts[0] < counts[-1] <= written


def loaded(one: Node, home: Path) -> int:
    """Numbered lines, each fsynced, beside random writes that are synced and verified; how many
    lines there are in the end, when nothing is on its way any more."""
    ending, count = threading.Event(), [0]

    def write() -> None:
        with (one.place / "ledger").open("ab", buffering=0) as file:
            while not ending.is_set():
                file.write(b"%08d\n" % (count[0] + 1))
                os.fsync(file.fileno())
                count[0] += 1

    writer = threading.Thread(target=write)
    fio = Fio(one.place, home / "fio", size="12M")
    writer.start()
    try:
        outcome = fio.outcome()
    finally:
        ending.set()
        writer.join()
    assert outcome["error"] == 0, outcome["stderr"]
    until = time.monotonic() + 60
    while one.lag()["bytes"]:
        assert time.monotonic() < until, one.lag()
        time.sleep(0.05)
    return count[0]


def bucket(server: ObjectStore, prefix: str) -> tuple[list[str], dict[str, bytes]]:
    """What is in the bucket now: the keys, and the bodies."""
    client = connect(server.endpoint)
    store = S3Store(lambda: client, BUCKET, prefix)
    keys = [item.key for item in store.list("")]
    return keys, {key: store.get(key) for key in keys}


def moments(keys: list[str], uuid: str) -> list[int]:
    """CUTS records, spread over those that are not in a checkpoint yet."""
    log = f"disks/{uuid}/log/"
    seqs = sorted(int(key.removeprefix(log), 16) for key in keys if key.startswith(log))
    last = seqs[-1]
    first = next(seq for seq in seqs if list(range(seq, last + 1)) == seqs[seqs.index(seq) :])
    tail = list(range(max(first, checkpointed(keys, uuid)), last + 1))
    step = max(1, len(tail) // CUTS)
    return sorted({*tail[::step], last})


def checkpointed(keys: list[str], uuid: str) -> int:
    """The record that the newest checkpoint ends with; images before it cannot be built."""
    found = [key for key in keys if key.startswith(f"disks/{uuid}/ckpt/")]
    return max((int(key.split("/")[3].split("-")[0], 16) for key in found), default=1)


def build(
    image: Path, keys: list[str], bodies: dict[str, bytes], uuid: str, cut: int, size: int
) -> None:
    """The disk as the records up to `cut` make it."""
    log = f"disks/{uuid}/log/"
    seen = [k for k in keys if not k.startswith(log) or int(k.removeprefix(log), 16) <= cut]
    with image.open("wb") as file:
        file.truncate(size)
        for number, block in dump(seen, bodies.__getitem__, uuid):
            file.seek(number * 4096)
            file.write(block)


@contextmanager
def mounted(image: Path, view: Path) -> Iterator[Path]:
    """The image's files, after the file system has recovered by itself."""
    view.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, view], check=True)
    try:
        yield view
    finally:
        subprocess.run(["umount", view], check=True)


def lines(ledger: Path) -> int:
    """How many lines there are: 1, 2, 3, ... and whole."""
    if not ledger.exists():
        return 0
    found = [int(line) for line in ledger.read_bytes().replace(b"\0", b"").split(b"\n") if line]
    assert found == list(range(1, len(found) + 1))
    return len(found)
