"""An engine, its containers, a service and a second node, in any order of events, against a model
of what must be true. The storage and the kernel are simulated, and so is every mishap."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from backends.base import Occupant, Volume
from backends.errors import InUse, KedgeError, NotFound, Unavailable
from backends.memory import SimulatedMount
from driver.lifecycle import check
from tests.simulated import Node, joined
from tests.state.death import Dead, Death, at_rest, disagreements, place

NAMES = st.sampled_from(["a", "b"])
IDS = st.sampled_from(["1" * 64, "2" * 64, "3" * 64])
ANY = st.integers(0, 20)
VERBS = ("create", "remove", "get", "volumes", "attach", "detach", "attachments", "occupants")
AFTER_REBOOT = "the node name 'here' was in use by an earlier run"
"""A restart soon after a reboot: the disk might be a copy, and a ttl is waited for again."""
MARK = b"a row that was acknowledged"


@dataclass
class Container:
    """A container of the engine on this node, with its process running."""

    name: str
    mount_id: str
    uuid: str
    process: Occupant
    recorded: bool = True
    """Its Mount was recorded in the ledger that the service has now."""


@dataclass
class Model:
    """What must be true."""

    exists: dict[str, str] = field(default_factory=dict)
    """Volume -> uuid."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """References that Docker may believe to have, by volume and mount ID: at most these."""
    running: list[Container] = field(default_factory=list)
    crashed: list[Container] = field(default_factory=list)
    """Containers of before an engine's crash: they start again under the same ID."""
    stale: set[str] = field(default_factory=set)
    """Names that another node changed since this one last listed the storage."""
    lost: set[str] = field(default_factory=set)
    """Volumes whose mount was taken away behind the service's back."""


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._place = place()
        home = self._place.__enter__()
        self.node = Node(home / "here")
        self.elsewhere = Node(home / "elsewhere", name="elsewhere", beside=self.node)
        self.node.round()
        self.model = Model()
        self.troubled: set[str] = set()
        self.violations: list[str] = []
        self.death: Death | None = None
        self.pids = 4000
        self.node.world.effect = self.effect

    # -- watching every effect --------------------------------------------------------------

    def effect(self, what: str) -> None:
        """Nothing that a process uses is unmounted or deleted, by anybody."""
        kernel = self.node.kernel
        if what.startswith("unmount "):
            for target, mount in kernel.mounts.items():
                if str(target) == what.removeprefix("unmount ") and kernel.occupants[mount.uuid]:
                    self.violations.append(f"{what} under a running process")
        if what.startswith("delete ") and "/" not in what:
            uuid = what.removeprefix("delete ")
            if kernel.occupants[uuid] or any(m.uuid == uuid for m in kernel.mounts.values()):
                self.violations.append(f"{what} while it is mounted")

    def truth(self, name: str) -> Volume[Any] | None:
        """What the storage has, past every simulated trouble."""
        with suppress(NotFound):
            found: Volume[Any] = self.node.backends["prod"]._catalog.get(name)  # type: ignore[attr-defined]
            return found
        return None

    def learn(self, name: str) -> None:
        """After a call that failed halfway: what it left is allowed to be either."""
        found = self.truth(name)
        if found is None:
            self.model.exists.pop(name, None)
        else:
            self.model.exists[name] = found.uuid

    def users(self, name: str) -> list[Container]:
        return [one for one in self.model.running if one.name == name]

    @contextmanager
    def excused(self, *expected: type[KedgeError]) -> Iterator[None]:
        """Errors are for troubled times, except those named."""
        try:
            yield
        except expected:
            return
        except KedgeError:
            if not self.troubled:
                raise

    @staticmethod
    def is_justified(error: InUse, somebody: object) -> None:
        """Nothing is in use by nobody."""
        assert somebody or AFTER_REBOOT in str(error), error

    # -- Docker's calls ---------------------------------------------------------------------

    @rule(name=NAMES)
    def create(self, name: str) -> None:
        before = self.model.exists.get(name)
        try:
            self.node.volumes.create(name, {})
        except InUse:
            assert before is None, "only an earlier volume of the name may be in the way"
            return
        except KedgeError:
            assert self.troubled
            if before is None:
                self.learn(name)
            return
        found = self.truth(name)
        assert found is not None, "created, and not there"
        assert before in (None, found.uuid), "another volume in the place of one that existed"
        self.model.exists[name] = found.uuid
        self.node.world.files[found.uuid].setdefault("row", MARK)
        self.model.stale.discard(name)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        try:
            self.node.volumes.remove(name)
        except NotFound:
            assert name not in self.model.exists
        except InUse as error:
            self.is_justified(error, self.node.ledger.get(name))
        except KedgeError:
            assert self.troubled
            if not self.users(name):
                self.learn(name)
        else:
            assert not self.users(name), "removed under a running container"
            self.model.exists.pop(name, None)

    def mount(self, name: str, mount_id: str) -> str | None:
        """The uuid of what is mounted, as a container would find it; None when refused."""
        try:
            path = self.node.volumes.mount(name, mount_id)
        except NotFound:
            assert name not in self.model.exists
            return None
        except InUse as error:
            self.is_justified(error, self.node.kernel.occupants)
            return None
        except KedgeError:
            assert self.troubled
            return None
        shown = self.node.kernel.mounts.get(path)
        assert shown is not None, "a path at which nothing is mounted"
        assert shown.healthy
        assert shown.uuid == self.model.exists.get(name), "a path at which another volume is"
        self.model.counts[name, mount_id] += 1
        self.model.lost.discard(name)
        return shown.uuid

    def unmount(self, name: str, mount_id: str) -> None:
        self.node.volumes.unmount(name, mount_id)  # raises nothing, whatever happens
        count = self.model.counts[name, mount_id]
        self.model.counts[name, mount_id] = max(0, count - 1)

    @rule(name=NAMES, mount_id=IDS, comes=st.booleans())
    def start_container(self, name: str, mount_id: str, comes: bool) -> None:
        """Mount, and then a process that has it, unless the start fails later."""
        if any(one.mount_id == mount_id for one in self.model.running):
            return
        uuid = self.mount(name, mount_id)
        if uuid is not None and comes:
            self.run(name, mount_id, uuid)

    def run(self, name: str, mount_id: str, uuid: str) -> None:
        self.pids += 1
        process = Occupant(self.pids, "mysqld", mount_id)
        self.node.kernel.occupants[uuid].append(process)
        self.model.running.append(Container(name, mount_id, uuid, process))

    def ended(self, index: int) -> Container:
        one = self.model.running.pop(index % len(self.model.running))
        with suppress(ValueError):
            self.node.kernel.occupants[one.uuid].remove(one.process)
        return one

    @precondition(lambda self: self.model.running)
    @rule(index=ANY)
    def stop_container(self, index: int) -> None:
        one = self.ended(index)
        self.unmount(one.name, one.mount_id)

    @precondition(lambda self: self.model.running)
    @rule(index=ANY)
    def lose_an_unmount(self, index: int) -> None:
        self.ended(index)

    @precondition(lambda self: self.model.running)
    @rule(index=ANY)
    def copy_from_a_container(self, index: int) -> None:
        """docker cp: one more Mount under the ID of the running container, and an Unmount."""
        one = self.model.running[index % len(self.model.running)]
        if self.model.exists.get(one.name) == one.uuid and self.mount(one.name, one.mount_id):
            self.unmount(one.name, one.mount_id)

    @precondition(lambda self: self.model.running)
    @rule()
    def engine_crashes(self) -> None:
        while self.model.running:
            self.model.crashed.append(self.ended(0))

    @precondition(lambda self: self.model.crashed)
    @rule()
    def engine_starts_what_crashed(self) -> None:
        while self.model.crashed:
            one = self.model.crashed.pop()
            self.start_container_again(one)

    def start_container_again(self, one: Container) -> None:
        if any(other.mount_id == one.mount_id for other in self.model.running):
            return
        uuid = self.mount(one.name, one.mount_id)
        if uuid is not None:
            self.run(one.name, one.mount_id, uuid)

    @rule(name=NAMES, mount_id=IDS)
    def unmount_what_is_unknown(self, name: str, mount_id: str) -> None:
        if not any(one.mount_id == mount_id for one in self.model.running):
            self.unmount(name, mount_id)

    # -- mishaps ----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([2, 6, 40, 340]))
    def time_passes(self, seconds: int) -> None:
        every = 5.0 if seconds > 10 else 2.0
        for _ in range(max(1, int(seconds / every))):
            self.node.clock.sleep(every)
            self.a_round()

    @rule()
    def a_round(self) -> None:
        with suppress(KedgeError):
            self.elsewhere.round()
        with self.excused():
            self.node.round()
        if not self.troubled:
            self.model.stale.clear()
            self.model.lost.clear()

    @rule(verb=st.sampled_from(VERBS))
    def trouble_begins(self, verb: str) -> None:
        self.node.world.fail(verb, Unavailable(f"no {verb} now"))
        self.troubled.add(verb)

    @rule()
    def trouble_ends(self) -> None:
        self.node.world.heal()
        self.troubled.clear()

    @rule(name=NAMES, dead=st.booleans())
    def lose_a_mount(self, name: str, dead: bool) -> None:
        target = self.node.paths.mounts / name
        mount = self.node.kernel.mounts.get(target)
        if mount is None:
            return
        self.model.lost.add(name)
        if dead:
            self.node.kernel.mounts[target] = SimulatedMount(mount.uuid, healthy=False)
        else:
            del self.node.kernel.mounts[target]

    @rule(name=NAMES, mount_id=IDS, verb=st.sampled_from(["attach", "get", "attachments"]))
    def a_mount_hangs(self, name: str, mount_id: str, verb: str) -> None:
        """Docker gives up on it; meanwhile it stops another container on the same volume."""
        if self.troubled or any(one.mount_id == mount_id for one in self.model.running):
            return
        storage = self.node.world.block(verb)
        self.troubled.add(verb)
        try:
            with self.node.haste(0.03):
                self.mount(name, mount_id)
                self.stop_another(name)
        finally:
            self.trouble_ends()
            storage.set()
            joined()

    def stop_another(self, name: str) -> None:
        for index, one in enumerate(self.model.running):
            if one.name == name:
                before = (self.node.holders(name) or {}).get(one.mount_id, 0)
                self.ended(index)
                self.unmount(one.name, one.mount_id)
                after = (self.node.holders(name) or {}).get(one.mount_id, 0)
                assert after == max(0, before - 1), "a reference was not dropped in time"
                return

    # -- the service and the node -----------------------------------------------------------

    @rule()
    def service_restarts(self) -> None:
        self.restarted(lambda: self.node.start())

    @rule()
    def service_loses_its_ledger(self) -> None:
        self.node.ledger.close()
        self.node.ledger._path.write_bytes(b"noise" * 100)
        for one in self.model.running:
            one.recorded = False
        self.restarted(lambda: self.node.start())

    @rule()
    def node_reboots(self) -> None:
        self.model.running.clear()
        self.restarted(lambda: self.node.reboot())

    def restarted(self, start: Callable[[], object]) -> None:
        self.node.world.effect = self.effect
        self.trouble_ends()
        start()
        self.model.stale.clear()
        self.model.lost.clear()

    @rule(
        name=NAMES,
        mount_id=IDS,
        call=st.sampled_from(["create", "remove", "mount", "unmount"]),
        at=st.integers(0, 12),
    )
    def service_is_killed_in_a_call(self, name: str, mount_id: str, call: str, at: int) -> None:
        if any(one.mount_id == mount_id for one in self.model.running):
            return
        death = Death(self.node, at)
        watched = death.effect

        def effect(what: str) -> None:
            watched(what)
            self.effect(what)

        self.node.world.effect = effect
        with suppress(Dead, KedgeError):
            match call:
                case "create":
                    self.create(name)
                case "remove":
                    self.remove(name)
                case "mount":
                    self.model.counts[name, mount_id] += 1  # it may be recorded, unanswered
                    self.mount(name, mount_id)
                case "unmount":
                    self.unmount(name, mount_id)
        self.node.world.effect = self.effect
        if call in ("create", "remove") and not self.users(name):
            self.learn(name)
            if found := self.truth(name):
                self.node.world.files[found.uuid].setdefault("row", MARK)
        self.restarted(lambda: self.node.start())
        if call in ("create", "remove") and not self.users(name):
            self.learn(name)

    # -- another node -----------------------------------------------------------------------

    @rule(name=NAMES)
    def created_elsewhere(self, name: str) -> None:
        if self.troubled or self.model.exists.get(name):
            return
        self.elsewhere.volumes.create(name, {})
        self.learn(name)
        self.node.world.files[self.model.exists[name]].setdefault("row", MARK)
        self.model.stale.add(name)

    @rule(name=NAMES)
    def removed_elsewhere(self, name: str) -> None:
        if self.troubled or not self.model.exists.get(name):
            return
        with suppress(InUse):  # Claimed, among others
            self.elsewhere.volumes.remove(name)
            assert not self.users(name), "removed elsewhere under a running container"
            del self.model.exists[name]
            self.model.stale.add(name)

    # -- what must be true ------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.create("a")

    @invariant()
    def nothing_was_taken_from_under_a_process(self) -> None:
        assert self.violations == []
        for one in self.model.running:
            assert one.uuid in self.node.world.files

    @invariant()
    def no_volume_is_lost_and_none_comes_back(self) -> None:
        stored = {name: found.uuid for name in ("a", "b") if (found := self.truth(name))}
        assert stored == self.model.exists
        for uuid in stored.values():
            assert self.node.world.files[uuid]["row"] == MARK

    @invariant()
    def references_are_those_of_docker(self) -> None:
        for promise in self.node.ledger.promises().values():
            assert list(check(promise.entry)) == []
            for mount_id, count in promise.entry.holders.items():
                assert count <= self.model.counts[promise.name, mount_id], "a reference too many"
        for one in self.model.running:
            if one.recorded and self.model.exists.get(one.name) == one.uuid:
                assert (self.node.holders(one.name) or {}).get(one.mount_id), "a reference too few"

    @invariant()
    def get_is_sure_of_what_it_says(self) -> None:
        for name in ("a", "b"):
            try:
                self.node.volumes.get(name)
            except NotFound:
                assert name not in self.model.exists, "no such volume, and yet there is"
                assert not self.troubled & {"get"}, "no such volume, and nobody was asked"
            except KedgeError:
                assert self.troubled & {"get"}
            else:
                assert name in self.model.exists or name in self.model.stale

    @invariant()
    def every_mount_has_a_record(self) -> None:
        for wrong in disagreements(self.node):
            excused = any(wrong.startswith(f"{name} is said") for name in self.model.lost)
            assert excused, wrong

    def teardown(self) -> None:
        """In the end nothing stays attached, and every volume can be had by another node."""
        try:
            self.restarted(lambda: None)
            at_rest(self.node)
            self.no_volume_is_lost_and_none_comes_back()
        finally:
            self._place.__exit__(None, None, None)
