"""The whole service on a profile of a real pool, spoken to as Docker does."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from bench.service import running
from tests.gluster.conftest import VOLUME, clean
from tests.gluster.writing import Writer
from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab


def _kill(service: "subprocess.Popen[bytes]") -> None:
    """Kill the service with its worker, at once."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    for pid in (service.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    service.wait()


def test_a_volume_outlives_the_service_that_mounted_it(pool: Pool, tmp_path: Path) -> None:
    servers = ",".join(pool.addresses)
    config = f"""
        default_backend = "pool"
        [profiles.pool]
        backend = "gluster"
        servers = "{servers}"
        volume = "{VOLUME}"
        subdirectory = "service"
    """
    home = tmp_path / "kedge"
    try:
        with running(home, config) as first:
            first.call("VolumeDriver.Create", Name="db", Opts=None)
            place = first.mount("db")
            with Writer(place / "lines", pause=0.01) as writer:
                writer.wait_for(5)
                _kill(first.process)
                writer.wait_for(20)
                with running(home, config) as second:
                    writer.wait_for(20)
                    assert second.mount("db", "again") == place
                    shown = second.call("VolumeDriver.Get", Name="db")["Volume"]
                    assert shown["Mountpoint"] == str(place)
                    assert shown["Status"]["fencing"] == "node"
                    assert not writer.error()
                    second.unmount("db", "again")
    finally:
        clean(tmp_path)
