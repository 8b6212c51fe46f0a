"""The systemd units, and the service under sockets handed over as systemd does it."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.images import PROJECT
from tests.lab.namespace import Failed, Namespace
from tests.wire.service import until

UNITS = PROJECT / "packaging/systemd"
SCRIPT = str(PROJECT / "packaging/service.sh")
CHANGED = ("/etc", "/opt", "/usr/local", "/var/lib")


def test_units_are_sound(tmp_path: Path) -> None:
    """`systemd-analyze verify` with the program at a place that exists here."""
    for unit in ("kedge.service", "kedge.socket"):
        text = (UNITS / unit).read_text().replace("/opt/kedge/bin/kedge", "/bin/true")
        (tmp_path / unit).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("kedge.*"))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_never_waits_for_docker() -> None:
    """dockerd waits at its start for every driver it knows: the other way round is a deadlock."""
    for unit in ("kedge.service", "kedge.socket"):
        settings = [
            line.partition("=")
            for line in (UNITS / unit).read_text().splitlines()
            if "=" in line and not line.startswith("#")
        ]
        for key, _, value in settings:
            assert "docker" not in value or key in ("Before", "ListenStream", "Description")
        assert ("Before", "=", "docker.service") in settings


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """A machine like this one, whatever is installed on it for the others unseen."""
    box = Namespace("installed")
    try:
        for place in CHANGED:
            upper, work = f"/run/upper{place}", f"/run/work{place}"
            box.run(["mkdir", "-p", upper, work])
            layers = f"lowerdir={place},upperdir={upper},workdir={work}"
            box.run(["mount", "-t", "overlay", "-o", layers, "overlay", place])
        for file in ("/etc/resolv.conf", "/etc/hosts"):  # may be mounts, which a layer lacks
            box.path(file).write_bytes(Path(file).read_bytes())
        box.run(["mkdir", "-p", "/var/lib/kedge", "/run/docker/plugins"])
        box.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/kedge"])
        yield box
    finally:
        box.close()


@pytest.mark.timeout(900)
def test_the_service_is_installed_serves_and_is_removed(machine: Namespace) -> None:
    """`make install-service`, twice, and `make uninstall-service`, where no systemd runs."""
    kedge = "/usr/local/bin/kedge"
    for _ in range(2):
        assert "start the service with" in machine.run([SCRIPT, "install"], seconds=280)
    assert machine.run([kedge, "version"]).startswith("kedge ")
    assert machine.path("/opt/kedge/share/doc/kedge/install.md").exists()
    with tempfile.TemporaryFile() as log:
        service = machine.spawn([kedge, "serve"], log=log)

        def reachable() -> bool:
            with suppress(Failed):
                return "profile local: reachable" in machine.run([kedge, "doctor"])
            return False

        until(reachable, seconds=60)
        assert machine.path("/run/docker/plugins/kedge.sock").stat().st_mode & 0o777 == 0o600
        assert service.alive()
    machine.run([SCRIPT, "uninstall"])
    for gone in (kedge, "/opt/kedge", "/etc/systemd/system/kedge.service"):
        assert not machine.path(gone).exists()
    assert machine.path("/var/lib/kedge/local").is_dir(), "the data stay"
