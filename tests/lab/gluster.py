"""A real GlusterFS pool: three nodes on 127.1.N.1 to 127.1.N.3, each glusterd in a box of its own.

    pool = Pool()
    volume = pool.volume("r3")           # replica 3, started, all bricks online
    pool.nodes[2].kill()                 # power cut: glusterd, bricks and self-heal daemon at once
    pool.nodes[2].start()
    pool.close()                         # nothing is left, not even when this process is killed

A box has its own process ids and /run, so an unmodified glusterd with its own command line tool
runs in it; only the network is the machine's loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.lab.namespace import Daemon, Failed, Namespace

_PORT = 24007
_CONFIG = {"lib": "/var/lib/glusterd", "log": "/var/log/glusterfs"}


class Node:
    """One storage server. What it has on disk survives `kill`, as on a real one."""

    def __init__(self, address: str, root: Path) -> None:
        self.address = address
        self.root = root
        self._box: Namespace | None = None
        self._daemon: Daemon | None = None

    def start(self) -> None:
        """Boot: glusterd, which starts the bricks it knows of. Returns before they are online."""
        box = Namespace("gluster-" + self.address.rpartition(".")[2])
        self._box = box
        for name, place in _CONFIG.items():
            (self.root / name).mkdir(parents=True, exist_ok=True)
            box.run(["mount", "--bind", str(self.root / name), place])
        box.run(["mkdir", "-p", "/run/gluster"])
        argv = ["glusterd", "-N", "--log-level=WARNING"]
        for option in (f"socket.bind-address={self.address}", "address-family=inet"):
            argv += ["--xlator-option", f"management.transport.{option}"]
        with (self.root / "glusterd.out").open("ab") as log:
            self._daemon = box.spawn(argv, log=log)

    def gluster(self, *args: str, seconds: float = 60) -> str:
        """Run the node's `gluster` command."""
        return self.box.run(["gluster", "--mode=script", *args], seconds=seconds)

    def answers(self) -> bool:
        """Whether its glusterd takes commands."""
        return bool(self.gluster("pool", "list"))

    def sees_all(self) -> bool:
        """Whether it is connected with the whole pool."""
        return self.gluster("pool", "list").count("Connected") == 3

    @property
    def up(self) -> bool:
        """Whether it was started and not killed since."""
        return self._box is not None

    @property
    def box(self) -> Namespace:
        assert self._box is not None, f"node {self.address} is down"
        return self._box

    def kill(self) -> None:
        """Power cut. Down already: does nothing."""
        if self._box is not None:
            self._box.close()
            self._box = None
        if self._daemon is not None:
            self._daemon.wait()
            self._daemon = None

    def bricks(self) -> list[int]:
        """The processes of its bricks, by the machine's pid."""
        return [pid for pid, line in self.box.processes().items() if "glusterfsd " in line]

    def signal_bricks(self, number: signal.Signals) -> None:
        """Send a signal to every brick process of this node."""
        for pid in self.bricks():
            os.kill(pid, number)


class Pool:
    """Three nodes that trust each other. Close it. Several pools do not meet. `addresses`: three of
    this machine that nobody else uses; by default on the loopback."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kedge-gluster-", dir="/var/tmp"))
        chosen = addresses or _free_addresses()
        self.nodes = [Node(address, self.root / address) for address in chosen]
        try:
            self._form()
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[str]:
        """Of the servers, up or down."""
        return [node.address for node in self.nodes]

    def _form(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            wait_for(node.answers, "glusterd answers")
        for node in self.nodes[1:]:
            self.nodes[0].gluster("peer", "probe", node.address)
        for node in self.nodes:
            wait_for(node.sees_all, "the pool is whole")

    def volume(self, name: str, **options: str) -> str:
        """A new volume with a copy on every node, started and online; its name. Options are
        written with `__` for `.` and `_` for `-`."""
        bricks = [f"{node.address}:{node.root}/bricks/{name}" for node in self.nodes]
        for node in self.nodes:
            (node.root / "bricks").mkdir(exist_ok=True)
        self.gluster("volume", "create", name, "replica", "3", *bricks, "force")
        for key, value in options.items():
            self.set(name, key.replace("__", ".").replace("_", "-"), value)
        self.gluster("volume", "start", name)
        self.wait_online(name)
        return name

    def remove_volume(self, name: str) -> None:
        """Stop and delete a volume and what its bricks hold."""
        self.gluster("volume", "stop", name, "force")
        self.gluster("volume", "delete", name)
        for node in self.nodes:
            shutil.rmtree(node.root / "bricks" / name, ignore_errors=True)

    def gluster(self, *args: str) -> str:
        """Run `gluster` on the first node that is up. Another command may hold the lock of the
        whole pool for a moment."""
        node = next(node for node in self.nodes if node.up)
        for _ in range(20):
            try:
                return node.gluster(*args)
            except Failed as error:
                if (
                    "Another transaction" not in error.output
                    and "Locking failed" not in error.output
                ):
                    raise
            time.sleep(0.3)
        return node.gluster(*args)

    def set(self, volume: str, option: str, value: str) -> None:
        """`gluster volume set`."""
        self.gluster("volume", "set", volume, option, value)

    def wait_node(self, node: Node) -> None:
        """Until a node that was started sees every other one that is up."""
        up = sum(other.up for other in self.nodes)

        def connected() -> bool:
            return node.gluster("pool", "list").count("Connected") >= up

        wait_for(connected, f"node {node.address} has joined")

    def wait_online(self, volume: str) -> None:
        """Until every brick and self-heal daemon of the nodes that are up is online."""
        up = sum(node.up for node in self.nodes)
        wait_for(lambda: self._online(volume) >= 2 * up, f"volume {volume} is online")

    def _online(self, volume: str) -> int:
        return self.gluster("volume", "status", volume, "--xml").count("<status>1</status>")

    def wait_healed(self, volume: str, seconds: float = 120) -> None:
        """Until no entry waits to be healed, and none is in split-brain. Healing is asked for
        again and again: a daemon that does not reach every brick yet does nothing, or refuses, and
        by itself looks again much later."""

        def healed() -> bool:
            with suppress(Failed):
                self.gluster("volume", "heal", volume)
            report = self.heal_info(volume)
            return report.count("Number of entries: 0") == report.count("Brick ") == len(self.nodes)

        try:
            wait_for(healed, f"volume {volume} is healed", seconds=seconds, pause=0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.heal_info(volume)}") from None

    def heal_info(self, volume: str) -> str:
        """`volume heal info`."""
        return self.gluster("volume", "heal", volume, "info")

    def brick(self, node: int, volume: str, path: str) -> Path:
        """Where a node's copy of a file lies."""
        return self.nodes[node].root / "bricks" / volume / path

    def close(self) -> None:
        """End everything and remove every trace. Repeating it is no error."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.root, ignore_errors=True)


def wait_for(
    true: Callable[[], bool], what: str, *, seconds: float = 60, pause: float = 0.05
) -> None:
    """Poll until `true()`; a command that fails counts as no. TimeoutError says what was not."""
    deadline = time.monotonic() + seconds
    trouble = ""
    while True:
        try:
            if true():
                return
        except Failed as error:
            trouble = str(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what} {trouble}")
        time.sleep(pause)


def _free_addresses() -> list[str]:
    """Three that no other pool on this machine uses."""
    for net in range(1, 255):
        addresses = [f"127.1.{net}.{host}" for host in (1, 2, 3)]
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.bind((address, _PORT))
        except OSError:
            continue
        return addresses
    raise RuntimeError("127.1.0.0/16 is full of pools")
