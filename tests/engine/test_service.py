"""The systemd units, and the service under sockets handed over as systemd does it."""

import subprocess
from pathlib import Path

from tests.lab.images import PROJECT

UNITS = PROJECT / "packaging/systemd"


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
