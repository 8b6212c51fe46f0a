"""A throw-away Docker engine: a real dockerd with roots, socket and containerd of its own."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.lab.namespace import Daemon, Failed, Namespace, run

CLIENT = next(path for path in ("/usr/bin/docker", "docker") if shutil.which(path))


class Engine:
    """One node. `start` before use, `close` at the end; between them it may be killed and started
    as often as a test likes: everything is kept as a machine keeps it over a dockerd's death."""

    def __init__(
        self,
        name: str,
        *,
        live_restore: bool = False,
        data: Path | None = None,
        network: str = "",
        options: Sequence[str] = (),
    ) -> None:
        """`options`: further ones of dockerd."""
        self.root = Path(tempfile.mkdtemp(prefix="kedge-lab-", dir="/var/tmp"))
        self.data = data or self.root / "data"
        self._name, self._network = name, network
        self.box = Namespace(name, network)
        self.live_restore = live_restore
        self.options = options
        self.host = f"unix://{self.root}/docker.sock"
        self.cgroup = f"/{self.root.name}"
        self._daemon: Daemon | None = None

    def start(self) -> None:
        """Start dockerd and wait until it answers. Again if it panics: 20.10 may, when it was
        killed and starts its plugins, and a service manager starts it again too."""
        try:
            self._start()
        except RuntimeError as ended:
            if "panic: " not in str(ended):
                raise
            self._start()

    def _start(self) -> None:
        argv = ["dockerd", "--data-root", str(self.data), "-H", self.host]
        argv += ["--bridge", "none", "--iptables=false", "--cgroup-parent", self.cgroup]
        argv += ["--storage-driver", "overlay2", "--userland-proxy=false"]
        argv += [*self.options, *(["--live-restore"] if self.live_restore else [])]
        with (self.root / "dockerd.log").open("ab") as log:
            self._daemon = self.box.spawn(argv, log=log)
        self.wait_for(self._answers, "dockerd answers", seconds=60)

    def _answers(self) -> bool:
        if self._daemon is None or not self._daemon.alive():
            raise RuntimeError(f"dockerd ended:\n{self.log()[-3000:]}")
        try:
            self.docker("version")
        except Failed:
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop dockerd as `systemctl stop docker` does; SIGKILL as its death would."""
        if self._daemon is not None:
            self._daemon.kill(number)
            self._daemon.wait(60)
            self._daemon = None
            # it follows its dockerd; the next one takes a dying one for alive, and waits for it
            self.wait_for(lambda: not self._containerd(), "containerd has ended")

    def _containerd(self) -> list[int]:
        lines = self.box.processes().items()
        return [pid for pid, line in lines if line.startswith("containerd --config")]

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def power_off(self) -> None:
        """As a machine loses power: every process and every mount is gone, the disk stays."""
        self.box.close()
        self._daemon = None

    def power_on(self) -> None:
        """The machine boots: an empty /run, nothing mounted, nothing started yet."""
        self.box = Namespace(self._name, self._network)

    def restart(self) -> None:
        self.stop()
        self.start()

    def docker(self, *args: str, seconds: float = 60, data: str | None = None) -> str:
        """Run the docker client; its stdout without the last newline, Failed on an error."""
        argv = [CLIENT, "-H", self.host, *args]
        return run(argv, seconds=seconds, data=data).rstrip("\n")

    def inspect(self, *args: str) -> dict[str, Any]:
        """`docker ARGS` that prints a JSON list: its only element."""
        (only,) = json.loads(self.docker(*args))
        assert isinstance(only, dict)
        return only

    def script(self, argv: Sequence[str], *, seconds: float = 600, **env: str) -> str:
        """Run a program of the project against this engine, outside the box."""
        settings = [f"{key}={value}" for key, value in env.items()]
        engine = [f"DOCKER_HOST={self.host}", f"DOCKER={CLIENT}"]
        return run(["env", *engine, *settings, *argv], seconds=seconds)

    def log(self) -> str:
        """Everything dockerd, and through it managed plugins, have written."""
        return (self.root / "dockerd.log").read_text(errors="replace")

    def wait_for(self, true: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
        """Poll until `true()`; TimeoutError says what did not come about."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """End everything and remove every trace. Repeating it is no error."""
        self.box.close()
        self._daemon = None
        for group in Path("/sys/fs/cgroup").glob(f"*{self.cgroup}"):
            for inner in sorted(group.rglob("*/"), reverse=True):
                inner.rmdir()
            group.rmdir()
        shutil.rmtree(self.root, ignore_errors=True)
