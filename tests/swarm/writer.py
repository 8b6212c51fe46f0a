"""A service that appends a line per tenth of a second, and what its lines tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab import images
from tests.lab.storage import SharedDirectory
from tests.lab.swarm import Swarm

LOOP = (
    'n=0; while :; do n=$((n+1)); echo "$(hostname) $n" >> /data/log; sync /data/log; '
    "sleep 0.1; done"
)
"""Its own file only: a bare `sync` waits for every file system of the machine, and who waits for
one that hangs does not end with its container."""


@dataclass(frozen=True)
class Writer:
    """`lines` are read from the shared directory itself, below every mount."""

    swarm: Swarm
    volume: str

    def start(self, *options: str) -> None:
        """Start the service on a new volume."""
        mount = f"type=volume,source={self.volume},target=/data,volume-driver=kedge"
        self.swarm.manager.docker(
            *("service", "create", "--detach", "--no-resolve-image", "--network", "host"),
            *("--restart-delay", "200ms", "--stop-grace-period", "1s", "--name", self.volume),
            *("--hostname", "{{.Node.Hostname}}.{{.Task.ID}}", "--mount", mount, *options),
            *(images.SMALL, "sh", "-c", LOOP),
        )
        self.swarm.wait(lambda: len(self.lines()) > 2, f"{self.volume} writes")

    def uuid(self) -> str:
        """The volume's."""
        return self.swarm.manager.node.status(self.volume)["uuid"]

    def lines(self) -> list[tuple[str, str]]:
        """(node, task) of every line, in the order of the file."""
        files = logs(self.swarm)
        wanted = [file for file in files if file.parts[-3] == self._uuid(files)]
        text = wanted[0].read_text() if wanted else ""
        hosts = [line.split()[0] for line in text.splitlines() if line.strip()]
        return [(host.split(".")[0], host.split(".")[1]) for host in hosts]

    def _uuid(self, files: list[Path]) -> str:
        if not files:
            return ""
        for volume in self.swarm.manager.node.volumes():
            if volume["name"] == self.volume:
                return str(volume["status"]["uuid"])
        return ""

    def node(self) -> str:
        """Who wrote last."""
        return self.lines()[-1][0]

    def moved_from(self, node: str, *, seconds: float = 60) -> float:
        """Seconds until another node writes."""
        return self.swarm.wait(
            lambda: self.node() != node, f"{self.volume} writes elsewhere", seconds=seconds
        )

    def turns(self) -> list[tuple[str, str]]:
        """Each run of lines by one task, once: a task that wrote, stopped, and wrote again after
        another would be in it twice."""
        found: list[tuple[str, str]] = []
        for line in self.lines():
            if not found or found[-1] != line:
                found.append(line)
        return found

    def never_two(self) -> bool:
        """No task wrote after its successor had begun."""
        return len(self.turns()) == len(set(self.turns()))


def logs(swarm: Swarm) -> list[Path]:
    """Every volume's file `log`, below every mount."""
    assert isinstance(swarm.storage, SharedDirectory)
    return list(swarm.storage.volumes.glob("volumes/*/data/log"))
