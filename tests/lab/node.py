"""One engine with the driver on it, in either packaging; tests see no difference.

Node                a running engine on which the driver is named `kedge`
  ManagedNode       Docker's managed plugin, from a built root file system
  SocketNode        a service of the host beside dockerd, with sockets handed over to it
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.lab import images
from tests.lab.engine import Engine
from tests.lab.namespace import Daemon, Failed, run

DRIVER = "kedge"


class Node(ABC):
    """`data` is the driver's directory on the host, `mounts` where its volumes appear there."""

    form: str

    def __init__(self, name: str, *, live_restore: bool = False, network: str = "") -> None:
        self.engine = Engine(name, live_restore=live_restore, network=network)
        self.docker = self.engine.docker
        self.data = self.engine.root / "var-lib" / "kedge"
        self.data.mkdir(parents=True)

    def start(self) -> None:
        """Start the engine with the small image, and the driver."""
        self.engine.start()
        images.load_small(self.engine)
        self.install()

    @abstractmethod
    def install(self) -> None:
        """Put the driver on the engine and wait until it serves."""

    @abstractmethod
    def disable(self) -> None:
        """Stop the driver although volumes are in use."""

    @abstractmethod
    def enable(self) -> None:
        """Start the driver again."""

    @abstractmethod
    def init_pid(self) -> int:
        """The driver's first process, by the machine's number; RuntimeError if it is not there."""

    @abstractmethod
    def kedge(self, *args: str, seconds: float = 60) -> str:
        """Run the operator's command; its stdout, Failed on an error."""

    def first_process(self) -> int:
        """`init_pid`, or 0 while there is none."""
        try:
            return self.init_pid()
        except RuntimeError:
            return 0

    @abstractmethod
    def log(self) -> str:
        """What the driver has written since the node was made."""

    def service_pid(self) -> int:
        """The process that answers Docker."""
        for pid, line in self.engine.box.processes().items():
            if " serve" in line and parent(pid) == self.init_pid():
                return pid
        raise RuntimeError("the service is not running")

    def kill_service(self) -> None:
        """kill -9 of the service and its workers; returns when a new one answers."""
        old = self.service_pid()
        for pid in [old, *children(old)]:
            with suppress(ProcessLookupError):  # the worker follows its parent
                os.kill(pid, signal.SIGKILL)
        self.engine.wait_for(lambda: self._serves_anew(old), "the service is back")

    def _serves_anew(self, old: int) -> bool:
        try:
            if self.service_pid() == old:
                return False
            self.kedge("ls")
        except (RuntimeError, Failed):
            return False
        return True

    def run(self, *args: str, image: str = images.SMALL, seconds: float = 60) -> str:
        """`docker run --network none ARGS`, of which the image and its command are the rest."""
        at = args.index("--") if "--" in args else len(args)
        return self.docker(
            *("run", "--network", "none", "--stop-signal", "KILL"),
            *(*args[:at], image, *args[at + 1 :]),
            seconds=seconds,
        )

    def create(self, name: str, *options: str) -> str:
        """`docker volume create`; options as `size=1G`."""
        given = [word for option in options for word in ("-o", option)]
        return self.docker("volume", "create", "-d", DRIVER, *given, name)

    def status(self, name: str) -> dict[str, str]:
        """The driver's own words in `docker volume inspect`, Mountpoint among them."""
        shown = self.engine.inspect("volume", "inspect", name)
        status: dict[str, str] = shown["Status"]
        return status | {"mountpoint": shown["Mountpoint"]}

    def volumes(self) -> list[dict[str, Any]]:
        """Every volume, from the driver itself."""
        found: list[dict[str, Any]] = json.loads(self.kedge("ls", "--json"))
        return found

    def wait_for_state(self, name: str, state: str, *, seconds: float = 30) -> None:
        """Wait until the driver says that the volume is in this state."""
        self.engine.wait_for(
            lambda: self.status(name)["state"] == state,
            f"volume {name} is {state}",
            seconds=seconds,
        )

    @abstractmethod
    def mounted(self) -> list[str]:
        """The mount points of volumes, wherever the kernel shows one outside containers."""

    def clear(self) -> None:
        """Remove every container and volume; what they leave in the kernel is a leak and raises."""
        if containers := self.docker("ps", "-aq").split():
            self.docker("rm", "-f", "-v", *containers)
        uuids = [volume["status"]["uuid"] for volume in self.volumes()]
        for volume in self.volumes():
            self.remove(volume["name"])
        left = [f"volume {volume['name']}" for volume in self.volumes()]
        left += [f"mount {path}" for path in self.mounted()]
        left += [f"loop device on {path}" for path in loops() if any(u in path for u in uuids)]
        left += [f"file {path}" for path in self.data.rglob("*") if path.name in uuids]
        if left:
            raise AssertionError(f"left behind: {', '.join(left)}")

    def remove(self, name: str) -> None:
        """`docker volume rm`; a mount a moment ago whose Unmount was lost is waited for."""
        deadline = time.monotonic() + 10
        while True:
            try:
                self.docker("volume", "rm", name)
                return
            except Failed as refused:
                if "was mounted" not in str(refused) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        self.engine.close()


def packaged(form: str, name: str, built: Callable[[], Path]) -> Node:
    """A node of this form (`managed` or `socket`); `built` gives what the plugin is made from."""
    return SocketNode(name) if form == "socket" else ManagedNode(name, built())


class ManagedNode(Node):
    form = "managed"

    def __init__(
        self, name: str, built: Path, *, live_restore: bool = False, network: str = ""
    ) -> None:
        super().__init__(name, live_restore=live_restore, network=network)
        self.built = built

    def install(self) -> None:
        self.engine.script([str(images.PROJECT / "packaging/plugin.sh"), "create", str(self.built)])
        self.docker("plugin", "set", DRIVER, f"data.source={self.data.parent}")
        self.enable()

    def enable(self) -> None:
        self.docker("plugin", "enable", DRIVER)

    def disable(self) -> None:
        self.docker("plugin", "disable", "-f", DRIVER)

    def init_pid(self) -> int:
        for pid, line in self.engine.box.processes().items():
            if "driver.init" in line:
                return pid
        raise RuntimeError("the plugin is not running")

    def log(self) -> str:
        return "\n".join(line for line in self.engine.log().splitlines() if "plugin=" in line)

    def mounted(self) -> list[str]:
        inside = mount_points(self.init_pid(), "/mnt/kedge/")
        return inside + mount_points(self.engine.box.pid, f"{self.engine.data}/plugins/", deeper=3)

    def kedge(self, *args: str, seconds: float = 60) -> str:
        inside = Path(f"/proc/{self.init_pid()}/status").read_text().split("NSpid:")[1]
        pid = inside.splitlines()[0].split()[1]
        enter = ["nsenter", "-t", pid, "-m", "-u", "-n", "--", "/opt/kedge/bin/kedge"]
        return self.engine.box.run([*enter, *args], seconds=seconds)


class SocketNode(Node):
    form = "socket"

    def __init__(self, name: str, *, live_restore: bool = False) -> None:
        super().__init__(name, live_restore=live_restore)
        self._init: Daemon | None = None

    def install(self) -> None:
        self.enable()

    def enable(self) -> None:
        with (self.engine.root / "kedge.log").open("ab") as log:
            self._init = self.engine.box.spawn(self._service(), log=log)
        self.engine.wait_for(self._listens, "the driver listens")

    def _service(self) -> list[str]:
        sockets = ["/run/docker/plugins/kedge.sock", "/run/kedge/admin.sock"]
        program = [sys.executable, "-m", "driver", "serve"]
        return [*self._python(), "driver.init", *sockets, "--", *program]

    def _python(self) -> list[str]:
        settings = {
            "KEDGE_CONFIG": str(self.data / "kedge.toml"),
            "KEDGE_DATA": str(self.data),
            "KEDGE_MOUNTS": str(self.data / "mounts"),
            "PYTHONPATH": str(images.PROJECT),
        }
        env = ["env", *(f"{key}={value}" for key, value in settings.items())]
        return [*env, sys.executable, "-m"]

    def _listens(self) -> bool:
        if self._init is None or not self._init.alive():
            raise RuntimeError(f"ended at once: {self.log()}")
        return self.engine.box.path("/run/docker/plugins/kedge.sock").exists()

    def disable(self) -> None:
        if self._init is not None:
            self._init.kill(signal.SIGTERM)
            self._init.wait(15)
            self._init = None

    def init_pid(self) -> int:
        if self._init is None or not self._init.alive():
            raise RuntimeError("the service is not running")
        return self._init.pid

    def log(self) -> str:
        return (self.engine.root / "kedge.log").read_text(errors="replace")

    def mounted(self) -> list[str]:
        return mount_points(self.engine.box.pid, f"{self.data}/mounts/")

    def kedge(self, *args: str, seconds: float = 60) -> str:
        return self.engine.box.run([*self._python(), "driver", *args], seconds=seconds)

    def close(self) -> None:
        self.disable()
        super().close()


def mount_points(pid: int, prefix: str, *, deeper: int = 1) -> list[str]:
    """Mount points in a process's view that lie `deeper` names or more below `prefix`."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    below = [point for point in points if point.startswith(prefix)]
    return [point for point in below if point.removeprefix(prefix).count("/") >= deeper - 1]


def loops() -> list[str]:
    """The backing files of all loop devices of the machine, as the kernel names them."""
    return run(["losetup", "-nl", "-O", "BACK-FILE"]).splitlines()


def parent(pid: int) -> int:
    """The parent's process id, 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """The direct children's process ids."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
