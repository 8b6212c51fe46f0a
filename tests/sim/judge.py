"""What must hold in every run, watched where it happens: at the store and at the volumes."""

import json
from dataclasses import dataclass, field
from typing import Protocol

from backends.records import Record
from backends.records.memory import MemoryRecords
from tests.sim.kernel import Kernel


class Broken(AssertionError):
    """A rule was broken; the message says which."""


class Believer(Protocol):
    """A machine, as far as the judge looks into it."""

    name: str

    def believes(self, uuid: str) -> bool:
        """Whether this machine thinks, right now, that it may write the volume."""


@dataclass
class Volume:
    """Storage that refuses writes of an epoch below its floor. `written`: (epoch, machine)."""

    uuid: str
    floor: int = 0
    written: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Judge:
    """Knows the whole world, unlike any node in it."""

    kernel: Kernel
    forced: bool
    """Operators may take over live claims in this run: beliefs may overlap, epochs must not."""
    believers: list[Believer] = field(default_factory=list)
    volumes: dict[str, Volume] = field(default_factory=dict)
    granted: dict[tuple[str, int], str] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    changes: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    grants: int = 0
    takeovers: int = 0
    accepted: int = 0
    refused: int = 0

    def recorded(self, key: str, value: bytes) -> None:
        """The store took a claim record."""
        uuid, state = key.partition("/")[2], json.loads(value)
        epoch, holder = state["epoch"], state["node"] if state["held"] else ""
        if epoch < self.highest.get(uuid, 0):
            raise Broken(f"epoch of {uuid} fell from {self.highest[uuid]} to {epoch}")
        changes = self.changes.setdefault(uuid, [(0.0, "")])
        if holder and changes[-1][1] and epoch > self.highest.get(uuid, 0):
            self.takeovers += 1
        self.highest[uuid] = epoch
        changes.append((self.kernel.now, holder))

    def holds(self, machine: Believer, uuid: str, epoch: int) -> None:
        """A machine was told that it has the claim, or that its lease goes on."""
        first = self.granted.setdefault((uuid, epoch), machine.name)
        if first != machine.name:
            raise Broken(f"epoch {epoch} of {uuid} is held by {first} and {machine.name}")
        if self.forced or not machine.believes(uuid):
            return
        others = [m.name for m in self.believers if m is not machine and m.believes(uuid)]
        if others:
            raise Broken(f"{machine.name} and {others} may both write {uuid} (epoch {epoch})")

    def denied(self, uuid: str, since: float, node: str) -> None:
        """A node was told at this moment that somebody else holds the claim."""
        changes = self.changes.get(uuid, [(0.0, "")])
        at_start = [holder for time, holder in changes if time <= since][-1]
        during = {holder for time, holder in changes if time > since} | {at_start}
        if not during - {"", node}:
            raise Broken(f"{uuid} was free and yet refused to {node}")

    def fence(self, uuid: str, epoch: int) -> bool:
        """A new holder shuts out all earlier ones; False when it is itself shut out."""
        volume = self.volumes.setdefault(uuid, Volume(uuid))
        volume.floor = max(volume.floor, epoch)
        return volume.floor == epoch

    def write(self, machine: Believer, uuid: str, epoch: int) -> bool:
        """A write reaches the storage, which fences; False when refused."""
        volume = self.volumes[uuid]
        if epoch < volume.floor:
            self.refused += 1
            if self.highest.get(uuid, 0) <= epoch:
                raise Broken(f"{machine.name} holds {uuid} at {epoch} and is locked out")
            return False
        if volume.written and volume.written[-1][0] > epoch:
            raise Broken(f"{uuid}: epoch {epoch} wrote after {volume.written[-1][0]}")
        if any(e == epoch and name != machine.name for e, name in volume.written[-3:]):
            raise Broken(f"{uuid}: two machines wrote under epoch {epoch}")
        volume.written.append((epoch, machine.name))
        self.accepted += 1
        return True


class JudgedRecords(MemoryRecords):
    """The store, with the judge looking on."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self._judge = judge
        self._row: dict[str, list[str]] = {}
        """The versions that each key has had."""

    def free_again(self, key: str, version: str) -> bool:
        """Whether what followed a version has been followed itself: in an object store its place
        is free by then (docs/decisions/0002), and who makes it anew is told that it succeeded."""
        row = self._row.get(key, [])
        return version in row and row.index(version) < len(row) - 2

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        written = super().put(key, value, expected=expected)
        self._row.setdefault(key, []).append(written.version)
        if key.startswith("claims/"):
            self._judge.recorded(key, value)
        return written
