"""A container that writes numbered lines, and the proof that none was lost or written elsewhere."""

from __future__ import annotations

from tests.lab.node import Node

SCRIPT = "n=$(wc -l < /data/log || echo 0); while :; do n=$((n+1)); echo $n >> /data/log; done"
PACED = SCRIPT.replace("done", "sleep 0.02; done")


class Writer:
    """Started at once on the volume, as container `writer`."""

    def __init__(self, node: Node, volume: str, *options: str) -> None:
        self._node = node
        self._mount = ["-v", f"{volume}:/data"]
        write = f"touch /data/log; {PACED}"
        node.run("-d", "--name", "writer", *options, *self._mount, "--", "sh", "-c", write)
        self.goes_on()

    def started(self) -> str:
        """When Docker started the container; the same as before means that it was not restarted."""
        return self._node.docker("inspect", "-f", "{{.State.StartedAt}}", "writer")

    def lines(self) -> int:
        """How many lines there are, as the container itself sees it. They must be 1, 2, 3, ..."""
        seen = [
            int(line) for line in self._node.docker("exec", "writer", "cat", "/data/log").split()
        ]
        assert seen == list(range(1, len(seen) + 1))
        return len(seen)

    def goes_on(self) -> int:
        """Wait until more lines have come; how many there are then."""
        before = self.lines()
        self._node.engine.wait_for(lambda: self.lines() > before + 5, "the writer goes on")
        return self.lines()

    def elsewhere(self) -> int:
        """How many lines a new container on the same volume sees."""
        return int(self._node.run("--rm", *self._mount, "--", "sh", "-c", "wc -l < /data/log"))
