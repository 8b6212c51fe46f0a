"""The server is killed, upgraded, or loses its holder, under a load that verifies itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.errors import HostError
from tests.lab.datapath import SECONDS, Fio, Rig, fsck, rig, worst_pause

pytestmark = pytest.mark.lab

KILLS = int(os.environ.get("KEDGE_KILLS", "10"))
SIZE = os.environ.get("KEDGE_KILL_SIZE", "160M")
PAUSE = 0.5
"""Seconds that a load may stand still on a machine that has a processor to spare."""
START = 0.15
"""Seconds of a server's start-up on such a machine."""


def allowed() -> float:
    """PAUSE, or more when this machine is so busy just now that starting takes longer."""
    command = [sys.executable, "-s", "-c", "import backends.disk.serve"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    return PAUSE * max(1.0, (time.monotonic() - began) / START)


def verified(made: Rig, fio: Fio) -> float:
    """fio ended well; what it wrote is a sound file system. The worst pause in seconds."""
    job = fio.outcome(max(280, 60 * KILLS))
    assert (job["code"], job["error"]) == (0, 0), job["stderr"] + made.log
    assert job["read"]["total_ios"] == job["write"]["total_ios"] > 0
    made.down()
    fsck(made.image)
    return worst_pause(job)


def test_server_killed_under_load(tmp_path: Path) -> None:
    with rig(tmp_path, size=1 << 30) as made:
        made.up()
        fio, kills, replayed = made.load(SIZE), 0, 0
        limit = 0.0
        while kills < KILLS and fio.running():
            time.sleep(0.25)
            limit = max(limit, allowed())
            made.kill_server()
            kills += 1
            replayed += made.status()["replayed"]
        pause = verified(made, fio)
        assert kills == KILLS, "the load was over too soon"
        assert replayed > 0, "no kill hit a request in work: the test has proved nothing"
        print(f"{kills} kills, {replayed} requests replayed, longest write {pause:.3f} s")
        assert pause <= limit


def test_upgrade_under_load(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        fio, first = made.load("60M"), made.server()
        for _ in range(4):
            time.sleep(0.2)
            before = made.server()
            after = made.path.upgrade(SECONDS)
            assert after.server != before
        assert fio.running(), "the load was over too soon"
        assert made.server() != first
        limit = allowed()
        assert verified(made, fio) <= max(limit, allowed())


def test_spare_stands_ready_and_takes_over(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        spare = made.await_spare()
        began = time.monotonic()
        made.kill_server()
        pause = time.monotonic() - began
        assert made.server() == spare
        (made.target / "file").write_bytes(b"served by the spare")
        another = made.await_spare()
        os.kill(another, signal.SIGKILL)
        assert made.server() == spare
        upgraded = made.path.upgrade(SECONDS)
        assert upgraded.server not in (spare, another)
        print(f"taken over within {pause:.3f} s")
        made.down()


def test_without_a_spare_none_is_started(tmp_path: Path) -> None:
    with rig(tmp_path, spare=False) as made:
        made.open()
        time.sleep(1.3)
        held = made.path.held()
        assert held is not None
        assert (held.next, held.starts) == (0, 1)
        made.kill_server()
        made.path.close(SECONDS)


def test_upgrade_to_a_program_that_does_not_start_changes_nothing(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        before = made.server()
        good = (made.path.directory / "disk.json").read_text()
        (made.path.directory / "disk.json").write_text("{}")
        with pytest.raises(HostError, match="does not describe a disk"):
            made.path.upgrade(SECONDS)
        (made.path.directory / "disk.json").write_text(good)
        assert made.server() == before
        (made.target / "file").write_bytes(b"still here")
        made.down()


def test_supervisor_killed_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.up()
        fio, server = made.load("60M"), made.server()
        held = made.path.held()
        assert held is not None
        os.kill(held.pid, signal.SIGKILL)
        assert made.path.held() is None or made.path.held() != held
        assert made.path.alive()
        made.open()
        again = made.path.held()
        assert again is not None
        assert again.server == server
        assert again.pid != held.pid
        made.kill_server()
        limit = allowed()
        assert verified(made, fio) <= max(limit, allowed())


def test_service_restart_finds_the_data_path_again(tmp_path: Path) -> None:
    """A new service process knows nothing but the directory."""
    work = """
import os, pathlib, signal, sys
from tests.lab.datapath import Rig
made = Rig(pathlib.Path(sys.argv[1]), label="kedge:restart")
made.open()
print(made.server(), (made.target / "file").read_text(), made.layer.healthy())
made.kill_server()
made.down()
"""
    with rig(tmp_path, label="kedge:restart") as made:
        made.up()
        (made.target / "file").write_text("kept")
        server = made.server()
        done = subprocess.run(
            [sys.executable, "-c", work, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == [str(server), "kept", "True"], done.stderr
        assert done.returncode == 0, done.stderr
        assert made.left() == []
        assert made.path.held() is None
        fsck(made.image)
