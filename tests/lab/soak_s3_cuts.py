"""Crash images as in test_s3_cuts.py, under a database and under random changes of two files.

`make soak`: KEDGE_CUTS moments of each load, on each file system of KEDGE_CUTS_FS.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.databases import MariaDB
from tests.lab.object_store import ObjectStore
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import Node, nodes
from tests.lab.test_s3_cuts import (
    CHECKS,
    CUTS,
    SIZES,
    bucket,
    build,
    moments,
    mounted,
)

__all__ = ["home", "server"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

FILE_SYSTEMS = os.environ.get("KEDGE_CUTS_FS", "ext4,xfs").split(",")
SECONDS = float(os.environ.get("KEDGE_CUTS_SECONDS", "2.5"))
"""Of each load: less than it takes to make the 64 records after which the disk makes a checkpoint,
before which no image can be built."""
SEED = int(os.environ.get("KEDGE_CUTS_SEED", "1"))

Judge = Callable[[Path], int]
"""Looks at the files of one image; a number that never falls from one moment to a later one."""


def cuts(server: ObjectStore, one: Node, home: Path, fs: str, prefix: str, judge: Judge) -> None:
    """Every moment's image recovers, holds what `judge` wants, and is clean afterwards."""
    assert one.volume is not None
    uuid = one.volume.uuid
    one.pause()  # nothing is deleted while it is copied
    keys, get = bucket(server, prefix)
    found = []
    for cut in moments(keys, uuid):
        image = home / "image"
        build(image, keys, get, uuid, cut, SIZES[fs][1])
        with mounted(image, home / "view") as view:
            found.append(judge(view / "data"))
        done = subprocess.run([*CHECKS[fs], image], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"cut at record {cut}: {done.stdout}{done.stderr}"
        image.unlink()
    print(f"{fs}: {len(found)} moments, {found[0]} to {found[-1]}")
    assert len(found) >= min(CUTS, 4), "too few moments to prove anything"
    assert found == sorted(found), "a later moment lacks what an earlier one had"
    assert found[0] < found[-1]


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_every_moment_under_a_database_recovers(
    server: ObjectStore, home: Path, monkeypatch: pytest.MonkeyPatch, fs: str
) -> None:
    """MariaDB starts on each image, its table is sound, and its rows are a prefix."""
    monkeypatch.setitem(SIZES, "ext4", ("512M", 512 << 20))
    prefix = f"cuts-db-{fs}"
    with nodes(server, home, "one", prefix=prefix) as (one,):
        volume = one.create(size=SIZES[fs][0], fs=fs, rpo="0.05", log="256M")
        place = one.attach(volume, 1)
        with MariaDB(place) as db:
            one.await_sent(120)  # no image is from before its first start
            with db.writing() as ledger:
                time.sleep(SECONDS)
                db.kill()
        one.await_shipped(120)

        def rows(files: Path) -> int:
            with MariaDB(files) as there:
                found = there.found()
                there.stop()
            assert found <= ledger.acknowledged + 1
            return found

        cuts(server, one, home, fs, prefix, rows)


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_every_moment_of_random_changes_is_exact(server: ObjectStore, home: Path, fs: str) -> None:
    """Two files are changed in turn: written anywhere, cut, lengthened, punched, zeroed, written
    through a mapping; then synced, and that in a ledger. What the ledger of an image names last is
    there to the byte: whatever came after it was another file's."""
    prefix = f"cuts-fsx-{fs}"
    with nodes(server, home, "one", prefix=prefix) as (one,):
        volume = one.create(size=SIZES[fs][0], fs=fs, rpo="0.05")
        place = one.attach(volume, 1)
        one.await_sent(120)
        sums = changed(place)
        one.await_shipped(120)

        def exact(files: Path) -> int:
            ledger = files / "ledger"
            last = len(ledger.read_bytes()) // 9 if ledger.exists() else 0
            if last:
                body = (files / f"file{last % 2}").read_bytes()
                assert zlib.crc32(body) == sums[last], f"version {last} is not what was synced"
            return last

        cuts(server, one, home, fs, prefix, exact)


def changed(place: Path) -> dict[int, int]:
    """The checksum of each version's file."""
    chance, sums = random.Random(SEED), {}
    until, version = time.monotonic() + SECONDS, 0
    with (place / "ledger").open("ab", buffering=0) as ledger:
        while time.monotonic() < until:
            version += 1
            path = place / f"file{version % 2}"
            sums[version] = change(path, chance)
            ledger.write(b"%08d\n" % version)
            os.fsync(ledger.fileno())
    return sums


def change(path: Path, chance: random.Random) -> int:
    """Some changes of a file of at most 2 MiB, synced; its checksum."""
    limit = 2 << 20
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(chance.randrange(1, 12)):
            size = os.fstat(handle).st_size
            start = chance.randrange(limit)
            length = min(chance.randrange(1, 150_000), limit - start)
            what = chance.choice(["write", "write", "mapped", "cut", "punch", "zero"])
            if what == "write":
                os.pwrite(handle, chance.randbytes(length), start)
            elif what == "cut":
                os.ftruncate(handle, start)
            elif what == "mapped" and start + length <= size:
                with mmap.mmap(handle, size) as mapped:
                    mapped[start : start + length] = chance.randbytes(length)
            elif what in ("punch", "zero"):
                mode = ["--punch-hole"] if what == "punch" else ["--zero-range"]
                where = ["-o", str(start), "-l", str(length)]
                subprocess.run(["fallocate", *mode, *where, path], check=True)
        os.fsync(handle)
    finally:
        os.close(handle)
    return zlib.crc32(path.read_bytes())
