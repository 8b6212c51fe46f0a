"""The command line and the operator's socket, on a real service with simulated storage."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from driver.cli.inspection import Sparse
from driver.client import Client
from tests.wire.service import ROOT, Service, until


def kedge(service: Service, *arguments: str, code: int = 0) -> bytes:
    """What the command writes."""
    command = [sys.executable, "-m", "driver", "--socket", str(service.admin), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done
    return done.stdout if code == 0 or done.stdout else done.stderr


def shown(service: Service, *arguments: str, code: int = 0) -> Any:
    return json.loads(kedge(service, *arguments, "--json", code=code))


def test_snapshots_from_the_first_to_the_last_command(service: Service) -> None:
    service.ok("Create", Name="db", Opts={"size": "1G"})
    assert b"no snapshots" in kedge(service, "snapshot", "ls", "db")
    assert kedge(service, "snapshot", "create", "db", "one") == b"db@one is taken\n"
    assert b"choose another name" in kedge(service, "snapshot", "create", "db", "one", code=1)
    (row,) = shown(service, "snapshot", "ls", "db")
    assert (row["name"], row["by"], row["size"]) == ("one", "hand", 2**30)
    kedge(service, "snapshot", "restore", "db", "one", "--yes")
    assert shown(service, "snapshot", "clone", "db@one", "copy")["status"]["from"] == "db@one"
    kedge(service, "snapshot", "rm", "db", "one")
    assert shown(service, "snapshot", "ls", "db") == []
    assert b"no snapshot" in kedge(service, "snapshot", "restore", "db", "one", "--yes", code=1)


def test_a_list_that_may_not_be_whole_says_so(service: Service) -> None:
    """Storage that is away is no empty storage."""
    until(lambda: not _listing(service)[1], 60)
    assert _listing(service) == ("no volumes; make one: docker volume create -d kedge NAME\n", "")
    service.hook("volumes", "fail")
    until(lambda: _listing(service)[1], 60)
    why = "it cannot be asked: the storage cannot volumes now"
    assert _listing(service) == ("no volumes\n", f"kedge: profile prod may have others; {why}\n")
    service.unhook()
    until(lambda: not _listing(service)[1], 60)


def _listing(service: Service) -> tuple[str, str]:
    """What `kedge ls` says, and what it says besides."""
    command = [sys.executable, "-m", "driver", "--socket", str(service.admin), "ls"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True, text=True)
    return done.stdout, done.stderr


def test_copies_show_how_far_they_are(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    told: list[tuple[int, int]] = []

    def hear(done: int, total: int) -> None:
        told.append((done, total))

    client = Client(service.admin)
    client.follow("POST", "volumes", "db", "snapshots", progress=hear, name="one")
    client.follow("POST", "volumes", "db", "snapshots", "one", "restore", progress=hear)
    client.follow("POST", "volumes", "copy", "clone", progress=hear, source="db@one")
    assert told == [(1, 1)] * 3
    client.follow("POST", "volumes", "other", "clone", progress=hear, source="db")
    assert told[3:] == [(1, 2), (2, 2)]


def test_a_slow_answer_does_not_look_dead(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    service.hook("get", "block")
    command = [sys.executable, "-m", "driver", "--socket", str(service.admin)]
    slow = subprocess.Popen([*command, "snapshot", "create", "db"], cwd=ROOT)
    try:
        until(lambda: slow.poll() is None)
        service.unhook()
        assert slow.wait(60) == 0
    finally:
        slow.kill()
        slow.wait()


def test_checked_and_carried_away(service: Service, tmp_path: Path) -> None:
    service.ok("Create", Name="db", Opts=None)
    (found,) = shown(service, "fsck", "db")
    assert found["level"] == "ok"
    archive = tmp_path / "db.tar"
    done = shown(service, "export", "db", "-o", str(archive))
    assert (done["form"], done["size"]) == ("tar", archive.stat().st_size)
    with tarfile.open(archive) as opened:
        assert opened.getnames() == []
    assert kedge(service, "export", "db") == archive.read_bytes()
    said = kedge(service, "export", "db", "-o", str(archive), code=1)
    assert b"is there already; remove it" in said
    assert b"no snapshot" in kedge(service, "export", "db@one", code=1)
    assert b"have no log" in kedge(service, "cut", "--yes", "--before", "7", "db", code=1)
    assert b"leave --damaged out" in kedge(service, "export", "--damaged", "db", code=1)


def test_zeros_take_no_room(tmp_path: Path) -> None:
    content = bytes(300_000) + b"x" + bytes(500_000)
    with (tmp_path / "f").open("xb") as file:
        sparse = Sparse(file)
        for start in range(0, len(content), 100_001):
            sparse.write(content[start : start + 100_001])
        sparse.finish()
    assert (tmp_path / "f").read_bytes() == content
    assert (tmp_path / "f").stat().st_blocks * 512 < 300_000


def test_a_volume_is_taken_over(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    said = kedge(service, "takeover", "db", "--yes")
    assert said == b"db is free; the next mount gets it\n"
    assert shown(service, "inspect", "db")["status"]["owner"] == ""
    assert b"held by nobody; is that node certainly dead?" in kedge(
        service, "takeover", "db", code=1
    )
    service.ok("Mount", Name="db", ID="id")
    assert shown(service, "inspect", "db")["status"]["epoch"] == "2"
    assert b"is in use on this node; stop its containers" in kedge(
        service, "takeover", "db", "--yes", code=1
    )
    service.ok("Unmount", Name="db", ID="id")
