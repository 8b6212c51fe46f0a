"""A Swarm of real engines on one machine: a network namespace each, joined by a bridge.

Every node has its own engine, mounts, host name, /run and state, and the managed plugin; what they
share is a `Storage`. A node can be cut from the network, frozen, killed, and brought back.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab import images
from tests.lab.namespace import Failed, run
from tests.lab.node import DRIVER, ManagedNode
from tests.lab.storage import Storage

HEARTBEAT = "1s"
"""Swarm takes a node for lost after three of these; 5 s by default."""


class Network:
    """A bridge with a network of its own, of which this machine has the first address. Several
    Swarms on one machine do not meet."""

    def __init__(self) -> None:
        for number in range(256):
            self.name = f"kedge-b{number}"
            if _left_behind(self.name):
                continue
            try:
                run(["ip", "link", "add", self.name, "type", "bridge"])
            except Failed:
                continue
            break
        else:
            raise RuntimeError("256 bridges of earlier runs: remove the links kedge-b*")
        self._net = f"198.18.{number}"
        self.gateway = self.address(1)
        run(["ip", "addr", "add", f"{self.gateway}/24", "dev", self.name])
        run(["ip", "link", "set", self.name, "up"])

    def address(self, number: int) -> str:
        """One of the network's."""
        return f"{self._net}.{number}"

    def close(self) -> None:
        """Remove the bridge."""
        run(["ip", "link", "del", self.name])


def _left_behind(network: str) -> bool:
    """Whether a run that did not end well left a cable or a namespace of a node. The two can go
    apart: a name in /run/netns outlives the machine's network when only its files are kept."""
    places = (Path("/sys/class/net"), Path("/run/netns"))
    return any(any(place.glob(f"{network}-*")) for place in places)


class Member:
    """One node of the Swarm. `name` is its host name, its node name, its kedge name."""

    def __init__(self, number: int, built: Path, network: Network, storage: Storage) -> None:
        self.name = f"n{number}"
        self.network = self.link = f"{network.name}-{self.name}"
        self.address = network.address(10 + number)
        self._storage = storage
        self._wire(network)
        self.node = ManagedNode(self.name, built, network=self.network)
        self.docker = self.node.docker

    def _wire(self, network: Network) -> None:
        run(["ip", "netns", "add", self.network])
        run(["ip", "link", "add", self.link, "type", "veth", "peer", "eth0", "netns", self.network])
        run(["ip", "link", "set", self.link, "master", network.name, "up"])
        inside = ["ip", "-n", self.network]
        run([*inside, "addr", "add", f"{self.address}/24", "dev", "eth0"])
        run([*inside, "link", "set", "eth0", "up"])
        run([*inside, "link", "set", "lo", "up"])

    def start(self) -> None:
        """The engine, the images, the plugin on the storage."""
        self._storage.equip(self.node)
        (self.node.data / "kedge.toml").write_text(
            f'node = "{self.name}"\n{self._storage.settings(self.name)}'
        )
        self.node.start()

    def cut(self) -> None:
        """Pull the network cable."""
        run(["ip", "link", "set", self.link, "down"])

    def join(self) -> None:
        """Plug it in again."""
        run(["ip", "link", "set", self.link, "up"])

    def processes(self) -> list[int]:
        """Everything that runs on the node."""
        return list(self.node.engine.box.processes())

    def freeze(self) -> None:
        """As a hypervisor pauses a machine."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The machine goes on, as if no time had passed."""
        self._signal(signal.SIGCONT)
        self.node.engine.box.wake()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def die(self) -> None:
        """Power off: every process ends at once, every mount of the node is gone."""
        self.node.engine.power_off()

    def revive(self) -> None:
        """Power on, as a machine boots: an empty /run, the engine, what it restarts."""
        self.node.engine.power_on()
        self._storage.equip(self.node)
        self.node.engine.start()

    def close(self) -> None:
        """Remove the node and its network."""
        try:
            self.node.close()
        finally:
            run(["ip", "netns", "del", self.network])


class Swarm:
    """Three members; the first is the only manager, and is not given work."""

    def __init__(self, built: Path, storage: Storage, members: int = 3) -> None:
        self.storage = storage
        self._network = Network()
        self.members = [Member(number, built, self._network, storage) for number in range(members)]
        self.manager = self.members[0]

    def start(self, *, load: Callable[[ManagedNode], None] = lambda node: None) -> None:
        """Start the storage and every engine, and join them. `load` puts further images on
        each."""
        self.storage.start(self._network.gateway)
        for member in self.members:
            member.start()
            load(member.node)
        self.manager.docker("swarm", "init", "--advertise-addr", self.manager.address)
        self.manager.docker("swarm", "update", "--dispatcher-heartbeat", HEARTBEAT)
        token = self.manager.docker("swarm", "join-token", "-q", "worker")
        for member in self.members[1:]:
            address = f"{self.manager.address}:2377"
            member.docker("swarm", "join", "--token", token, address)
        self.manager.docker("node", "update", "--availability", "drain", self.manager.name)

    def service(self, name: str, image: str, *command: str, volume: str, at: str) -> None:
        """A service of one replica on a volume, wherever Swarm puts it."""
        mount = f"type=volume,source={volume},target={at},volume-driver={DRIVER}"
        mount += "".join(f",volume-opt={option}" for option in self.storage.options)
        self.manager.docker(
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--network",
            "host",
            "--restart-delay",
            "200ms",
            "--name",
            name,
            "--mount",
            mount,
            image,
            *command,
        )

    def where(self, service: str) -> Member | None:
        """The member on which Swarm runs the service now, as far as it knows."""
        filters = ["--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}"]
        for line in self.manager.docker("service", "ps", service, *filters).splitlines():
            node, state = line.split()[:2]
            if state == "Running":
                return next(member for member in self.members if member.name == node)
        return None

    def failed(self, service: str, member: Member) -> set[str]:
        """Tasks of the service whose container ended by itself on this member."""
        found = self.manager.docker(
            *("service", "ps", "--no-trunc", "--filter", f"node={member.name}"),
            *("--format", "{{.ID}} {{.CurrentState}}", service),
        )
        states = [line.split()[:2] for line in found.splitlines()]
        return {task for task, state in states if state == "Failed"}

    def wait(self, true: Callable[[], bool], what: str, *, seconds: float = 60) -> float:
        """Seconds until `true()`; TimeoutError with what Swarm says otherwise."""
        start = time.monotonic()
        while not true():
            if time.monotonic() - start > seconds:
                raise TimeoutError(f"not within {seconds} s: {what}\n{self._state()}")
            time.sleep(0.1)
        return time.monotonic() - start

    def _state(self) -> str:
        """What Swarm says of its services and nodes, and the engines of themselves."""
        said = [self.manager.docker("service", "ls"), self.manager.docker("node", "ls")]
        for name in self.manager.docker("service", "ls", "-q").split():
            said.append(self.manager.docker("service", "ps", "--no-trunc", name))
        for member in self.members:
            lines = member.node.engine.log().splitlines()
            ours = [line[:400] for line in lines if "plugin=" not in line]
            said += [f"-- engine of {member.name}", *ours[-12:]]
        return "\n".join(said)

    def drain(self, member: Member) -> None:
        """Move all services off a member."""
        self.manager.docker("node", "update", "--availability", "drain", member.name)

    def activate(self, member: Member) -> None:
        """Let a member have services again."""
        self.manager.docker("node", "update", "--availability", "active", member.name)

    def workers_ready(self) -> bool:
        """Whether every member is known to be there."""
        return not self.lost()

    def lost(self) -> list[Member]:
        """The members that the manager does not see."""
        listed = self.manager.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
        ready = {name for name, status in map(str.split, listed.splitlines()) if status == "Ready"}
        return [member for member in self.members if member.name not in ready]

    def clear(self) -> None:
        """Remove every service and volume, and wait until no node holds anything."""
        self.wait(self.workers_ready, "all members are back")
        for name in self.manager.docker("service", "ls", "-q").split():
            self.manager.docker("service", "rm", name)
        for member in self.members:
            self.wait(lambda m=member: not m.docker("ps", "-q"), "containers end")  # type: ignore[misc]
            if ended := member.docker("ps", "-aq").split():
                member.docker("rm", "-f", *ended)
            self.activate(member)
        self.drain(self.manager)
        for volume in self.manager.node.volumes():
            self._remove(volume["name"])

    def _remove(self, name: str) -> None:
        def gone() -> bool:
            try:
                self.manager.docker("volume", "rm", name)
            except Failed as error:
                return "no such volume" in str(error).lower()
            return True

        self.wait(gone, f"volume {name} is removed", seconds=30)

    def close(self) -> None:
        """Remove everything, as far as it can be removed."""
        with ExitStack() as ends:
            ends.callback(self._network.close)
            ends.callback(self.storage.close)
            for member in self.members:
                ends.callback(member.close)


def load_database(node: ManagedNode) -> None:
    """MariaDB on every member."""
    images.load_mariadb(node.engine)


@contextmanager
def running(built: Path, storage: Storage) -> Iterator[Swarm]:
    """A Swarm of three on this storage, with MariaDB at hand; gone afterwards."""
    made = Swarm(built, storage)
    try:
        made.start(load=load_database)
        yield made
    finally:
        made.close()
