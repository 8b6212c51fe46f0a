"""A world in this process: storage that all nodes share, and a kernel per node."""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from backends.base import Occupant
from backends.records import Record, Records
from backends.records.memory import MemoryRecords


@dataclass(frozen=True)
class SimulatedMount:
    """What one node's kernel has mounted at a target."""

    uuid: str
    read_only: bool = False
    healthy: bool = True


@dataclass
class Kernel:
    """One node: outlives the service that runs on it."""

    mounts: dict[Path, SimulatedMount] = field(default_factory=dict)
    occupants: dict[str, list[Occupant]] = field(default_factory=lambda: defaultdict(list))
    """By uuid: processes that tests pretend to be there."""
    litter: set[Path] = field(default_factory=set)
    """Targets in which somebody wrote while nothing was mounted."""


@dataclass
class World:
    """Storage and nodes. `before` is called with the name of every verb as it starts, `effect`
    with a word for everything that is about to change; either may raise or wait."""

    stored: Records = field(default_factory=MemoryRecords)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The data: by uuid, then by file name."""
    snapshots: dict[str, dict[str, tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    """By uuid, then by name: when it was taken, and the files."""
    kernels: dict[str, Kernel] = field(default_factory=lambda: defaultdict(Kernel))
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    effect: Callable[[str], None] = lambda what: None
    capacity: int | None = None
    """How many volumes there is room for."""

    def fail(self, verb: str, error: Exception) -> None:
        """From now on the verb raises `error` and does nothing; see `heal`."""

        def raise_it() -> None:
            raise error

        self.before[verb] = raise_it

    def block(self, verb: str) -> threading.Event:
        """From now on the verb waits until the event that is returned is set."""
        event = threading.Event()

        def wait() -> None:
            event.wait()

        self.before[verb] = wait
        return event

    def heal(self) -> None:
        """No verb fails or waits any more (those that wait now still do)."""
        self.before.clear()


_worlds: dict[str, World] = defaultdict(World)


def world(name: str) -> World:
    """The world of that name; new at its first use."""
    return _worlds[name]


class SimulatedRecords(Records):
    """The world's records, announcing every change."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, key: str) -> Record | None:
        return self._world.stored.get(key)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        self._world.effect(f"put {key}")
        return self._world.stored.put(key, value, expected=expected)

    def put_alone(
        self, key: str, value: bytes, *, expected: str, alone: Callable[[], bool]
    ) -> Record:
        self._world.effect(f"put {key}")
        return self._world.stored.put_alone(key, value, expected=expected, alone=alone)

    def delete(self, key: str, *, expected: str) -> None:
        self._world.effect(f"delete {key}")
        self._world.stored.delete(key, expected=expected)

    def glance(self, key: str, seen: str | None) -> str | None:
        return self._world.stored.glance(key, seen)

    def keys(self, kind: str) -> list[str]:
        return self._world.stored.keys(kind)

    def stamps(self, kind: str) -> dict[str, str]:
        return self._world.stored.stamps(kind)
