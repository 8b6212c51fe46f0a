"""A node whose storage and kernel are simulated: the service on it can be killed and started."""

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.base import Backend, Context, Occupant
from backends.errors import KedgeError
from backends.memory import Kernel, MemoryBackend, MemorySettings, World, world
from driver.guard import Guard
from driver.keeper import Pace, Tender, Watcher
from driver.ledger import Ledger
from driver.lifecycle import State
from driver.ownership import Ownership
from driver.sessions import Sessions
from driver.settings import Paths, Profile, Settings
from driver.volumes import Volumes

CREATED = "2026-01-02T03:04:05Z"
_worlds = itertools.count()


def joined() -> None:
    """Wait for the work that abandoned calls left behind."""
    for thread in threading.enumerate():
        if " volume " in thread.name:
            thread.join(10)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Node:
    """One node. Storage and kernel outlive its service, the ledger's file too."""

    def __init__(
        self,
        home: Path,
        profiles: Sequence[str] = ("prod",),
        *,
        each: float = 30.0,
        defaults: Mapping[str, str] = MappingProxyType({}),
        name: str = "here",
        beside: "Node | None" = None,
        backend: type[MemoryBackend] = MemoryBackend,
    ) -> None:
        """`beside`: another node, whose storage and clock this one shares."""
        self.name = name
        self._backend_class = backend
        self.clock: Clock = beside.clock if beside else Clock()
        self.each = each
        self.paths = Paths(
            config=home / "kedge.toml",
            data=home / "data",
            mounts=home / "mounts",
            socket=home / "kedge.sock",
            admin_socket=home / "admin.sock",
            docker_root=home / "docker",
        )
        self.settings = Settings(
            paths=self.paths,
            node=self.name,
            log_level="info",
            default_backend=profiles[0],
            call_seconds=20.0,
            lease_ttl=6.0,
            lease_renew=2.0,
            profiles=MappingProxyType({p: Profile(p, "memory", {}, defaults) for p in profiles}),
        )
        self.worlds: dict[str, World] = {}
        new = {profile: f"test-{next(_worlds)}" for profile in profiles}
        self.names: Mapping[str, str] = beside.names if beside else new
        for profile, name in self.names.items():
            self.worlds[profile] = world(name)
        self._uuids: Iterator[int] = beside._uuids if beside else itertools.count(1)
        self._sessions = itertools.count(1)
        self._boots = 0
        self.start()

    def start(self, *, ready: bool = True) -> Volumes:
        """A new service on what is there."""
        self.ledger = Ledger(self.paths.state / "ledger.db")
        self.backends = {profile: self._backend(profile) for profile in self.names}
        self.volumes = Volumes(
            self.settings,
            self.backends,
            self.ledger,
            owners={profile: self._owner(profile) for profile in self.names},
            clock=self.clock,
            now=lambda: CREATED,
            new_uuid=lambda: uuid.UUID(int=next(self._uuids)),
        )
        pace = Pace(each=self.each)
        self.guards = {p: Guard(self.volumes, p) for p in self.names}
        self.tenders = {p: Tender(self.volumes, p, pace, self.clock) for p in self.names}
        self.watchers = {p: Watcher(self.volumes, p) for p in self.names}
        if ready:
            self.round()
            self.volumes.ready.set()
        return self.volumes

    def _backend(self, profile: str) -> Backend[Any, Any]:
        context = Context(profile, self.name, self.paths.mounts, self.paths.state / profile)
        return self._backend_class(MemorySettings(world=self.names[profile]), context)

    def _owner(self, profile: str) -> Ownership:
        sessions = Sessions(self.paths.state / f"{profile}.sessions", str(self._boots))
        return Ownership(
            self.backends[profile],
            node=self.name,
            terms=self.settings.terms(),
            clock=self.clock,
            sleep=self.clock.sleep,
            now=lambda: CREATED,
            new_session=lambda: f"{self.name}-{next(self._sessions)}",
            own=sessions.own,
            remember=sessions.remember,
        )

    def round(self) -> None:
        """Every guard's and every keeper's work, once."""
        for guard in self.guards.values():
            with suppress(KedgeError):
                guard.renew()
        for tender in self.tenders.values():
            tender.round()
        for watcher in self.watchers.values():
            watcher.round()

    def wait(self, seconds: float) -> None:
        """Time in which only the lease is renewed."""
        for _ in range(int(seconds)):
            self.clock.sleep(1)
            for guard in self.guards.values():
                with suppress(KedgeError):
                    guard.renew()

    def rounds(self, seconds: float, every: float = 2.0) -> None:
        """The keepers' work for so long."""
        for _ in range(int(seconds / every)):
            self.clock.sleep(every)
            self.round()

    @contextmanager
    def haste(self, seconds: float = 0.2) -> Iterator[None]:
        """Calls end after a moment, for those that are meant to. (Not all: this machine may be
        busy, and a moment is too short for work that is to be done.)"""
        patient = self.volumes.settings
        self.volumes.settings = replace(patient, call_seconds=seconds)
        yield
        self.volumes.settings = patient

    def reboot(self) -> Volumes:
        """Power off and on, and a moment to wake up: no mounts, no processes."""
        for one in self.worlds.values():
            one.kernels[self.name].mounts.clear()
            one.kernels[self.name].occupants.clear()
        self._boots += 1
        self.start()
        self.rounds(8.0)  # until the lease of before is over: the disk might be a copy
        return self.volumes

    @property
    def world(self) -> World:
        """The first profile's world."""
        return next(iter(self.worlds.values()))

    @property
    def kernel(self) -> Kernel:
        """This node's kernel, as the first profile sees it."""
        return self.world.kernels[self.name]

    def uuid_of(self, name: str) -> str:
        """The volume's, from the storage."""
        return next(iter(self.backends.values())).get(name).uuid

    def run(self, name: str, container: str = "c" * 64) -> Callable[[], None]:
        """A process that has the volume mounted; call the result to end it."""
        occupants = self.kernel.occupants[self.uuid_of(name)]
        process = Occupant(4000 + len(occupants), "mysqld", container)
        occupants.append(process)
        return lambda: occupants.remove(process)

    def mounted(self, name: str) -> bool:
        """Whether the kernel has exactly this volume at its target."""
        mount = self.kernel.mounts.get(self.paths.mounts / name)
        return mount is not None and mount.healthy and mount.uuid == self.uuid_of(name)

    def state(self, name: str) -> State | None:
        """The state in the ledger; None when the volume has no row."""
        promise = self.ledger.get(name)
        return promise.entry.state if promise else None

    def holders(self, name: str) -> Mapping[str, int] | None:
        """The references in the ledger; None when the volume has no row."""
        promise = self.ledger.get(name)
        return None if promise is None else dict(promise.entry.holders)
