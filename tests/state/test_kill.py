"""Killed between any two steps of create, mount, unmount and remove, and started again."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest

from backends.base import Access, Spec
from backends.errors import KedgeError, NotFound, Unavailable
from backends.memory import MemoryOptions, SimulatedMount
from driver.lifecycle import State
from tests.simulated import CREATED, Node
from tests.state.death import ID, OTHER, Dead, Death, at_rest, disagreements, place

RECORD = b"acknowledged"


@dataclass(frozen=True)
class Scenario:
    """What was before, what is cut off, and what must hold when it has been repeated."""

    before: Callable[[Node], None]
    act: Callable[[Node], None]
    then: Callable[[Node], bool]


def nothing(node: Node) -> None:
    """An empty node."""


def created(node: Node) -> None:
    node.volumes.create("db", {"size": "1G"})
    node.world.files[node.uuid_of("db")]["row"] = RECORD


def mounted(node: Node) -> None:
    created(node)
    node.volumes.mount("db", ID)


def mounted_twice(node: Node) -> None:
    mounted(node)
    node.volumes.mount("db", OTHER)


def running(node: Node) -> None:
    mounted(node)
    node.run("db")


def lost(node: Node) -> None:
    running(node)
    node.kernel.mounts.clear()


def dead(node: Node) -> None:
    running(node)
    for target in node.kernel.mounts:
        node.kernel.mounts[target] = SimulatedMount(node.uuid_of("db"), healthy=False)


def forgotten(node: Node) -> None:
    mounted(node)
    node.wait(10)


def replaced(node: Node) -> None:
    """Removed and made anew by another node while mounted here and used by nobody."""
    node.volumes.create("db", {"access": "shared"})  # no claim keeps others from it
    node.volumes.mount("db", ID)
    node.wait(10)
    backend = node.backends["prod"]
    backend.remove(backend.get("db"))
    backend.create(Spec("db", MemoryOptions(access=Access.SHARED), "elsewhere", CREATED))
    node.world.files[node.uuid_of("db")]["row"] = RECORD


def removal_begun(node: Node) -> None:
    created(node)

    def stop(what: str) -> None:
        if what.startswith("delete ") and "/" not in what:
            raise Unavailable("away")

    node.world.effect = stop
    with pytest.raises(Unavailable):
        node.volumes.remove("db")
    node.world.effect = lambda _: None


def create(node: Node) -> None:
    node.volumes.create("db", {"size": "1G"})


def mount(node: Node) -> None:
    node.volumes.mount("db", OTHER)


def unmount(node: Node) -> None:
    node.volumes.unmount("db", ID)


def remove(node: Node) -> None:
    with suppress(NotFound):  # the one that was cut off had done it
        node.volumes.remove("db")


def exists(node: Node) -> bool:
    return node.volumes.get("db").status["size"] == "1G" and not node.kernel.mounts


def is_mounted(node: Node) -> bool:
    return node.mounted("db") and OTHER in (node.holders("db") or {})


def is_unmounted(node: Node) -> bool:
    return not node.kernel.mounts and not node.ledger.promises()


def other_stays(node: Node) -> bool:
    return node.mounted("db") and node.holders("db") == {OTHER: 1}


def process_stays(node: Node) -> bool:
    return node.mounted("db") and node.holders("db") == {}


def is_gone(node: Node) -> bool:
    return not node.volumes.list() and not node.world.files and not node.ledger.promises()


SCENARIOS = {
    "create": Scenario(nothing, create, exists),
    "create over a removal that was begun": Scenario(removal_begun, create, exists),
    "mount": Scenario(created, mount, is_mounted),
    "mount beside another": Scenario(running, mount, is_mounted),
    "mount what was lost": Scenario(lost, mount, is_mounted),
    "mount what is dead": Scenario(dead, mount, is_mounted),
    "mount what was replaced": Scenario(replaced, mount, is_mounted),
    "unmount the last": Scenario(mounted, unmount, is_unmounted),
    "unmount one of two": Scenario(mounted_twice, unmount, other_stays),
    "unmount while a process stays": Scenario(running, unmount, process_stays),
    "remove": Scenario(created, remove, is_gone),
    "remove what Docker forgot to unmount": Scenario(forgotten, remove, is_gone),
    "remove what was begun to be removed": Scenario(removal_begun, remove, is_gone),
}
REBOOTED_DIFFERS = {"unmount one of two", "unmount while a process stays"}
"""What a reboot takes away: nobody holds or has the volume any more."""


def steps(scenario: Scenario) -> list[str]:
    """The effects of the call when it is not cut off."""
    with place() as home:
        node = Node(home)
        scenario.before(node)
        death = Death(node)
        scenario.act(node)
        assert scenario.then(node)
        return death.effects


def killed(node: Node, act: Callable[[], object], at: int) -> bool:
    """Whether the service died of it."""
    death = Death(node, at)
    with suppress(Dead):
        act()
    for world in node.worlds.values():
        world.effect = lambda _: None
    return death.dead


def restarted(node: Node, how: str) -> None:
    if how == "ledger lost":
        node.ledger.close()
        node.ledger._path.write_bytes(b"noise")
    node.reboot() if how == "reboot" else node.start()


def whole(node: Node, scenario: Scenario, existed: bool) -> None:
    """No volume is lost, no mount without a record, no record that lies."""
    assert list(disagreements(node)) == []
    begun = {State.CREATING, State.REMOVING, State.ATTACHING}
    assert not any(row.entry.state in begun for row in node.ledger.promises().values())
    known = {view.name for view in node.volumes.list()}
    stored = {volume.name for volume in node.backends["prod"].volumes()}
    assert known == stored
    if existed and scenario.act is not remove:
        assert "db" in stored
        assert node.world.files[node.uuid_of("db")]["row"] == RECORD


@pytest.mark.parametrize("how", ["restart", "reboot", "ledger lost"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_before_any_step(name: str, how: str) -> None:
    scenario = SCENARIOS[name]
    effects = steps(scenario)
    assert effects
    for at in range(len(effects)):
        with place() as home:
            node = Node(home)
            scenario.before(node)
            existed = "db" in {view.name for view in node.volumes.list()}
            assert killed(node, partial(scenario.act, node), at)
            restarted(node, how)
            whole(node, scenario, existed)
            node.wait(10)
            scenario.act(node)
            whole(node, scenario, existed)
            if not (how == "reboot" and name in REBOOTED_DIFFERS) and how != "ledger lost":
                assert scenario.then(node), effects[at]
            at_rest(node)
            whole(node, scenario, existed)


@pytest.mark.sim
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_again_while_it_recovers(name: str) -> None:
    scenario = SCENARIOS[name]
    for at in range(len(steps(scenario))):
        again = 0
        while True:
            with place() as home:
                node = Node(home)
                scenario.before(node)
                existed = "db" in {view.name for view in node.volumes.list()}
                killed(node, partial(scenario.act, node), at)
                node.start(ready=False)
                died = killed(node, node.round, again)
                node.start()
                whole(node, scenario, existed)
                node.wait(10)
                scenario.act(node)
                assert scenario.then(node)
            if not died:
                break
            again += 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_refused_at_any_step(name: str) -> None:
    """The same places, but the storage, the kernel or the ledger's disk says no."""
    scenario = SCENARIOS[name]
    for at in range(len(steps(scenario))):
        with place() as home:
            node = Node(home)
            scenario.before(node)
            existed = "db" in {view.name for view in node.volumes.list()}
            refusal = Refusal(node, at)
            with suppress(KedgeError):
                scenario.act(node)
            refusal.over()
            node.round()
            whole(node, scenario, existed)
            node.wait(10)
            scenario.act(node)
            assert scenario.then(node), refusal.effects
            at_rest(node)


class Refusal(Death):
    """Refuses the one effect instead of dying of it."""

    def __init__(self, node: Node, at: int) -> None:
        self._node = node
        super().__init__(node, at)

    def effect(self, what: str) -> None:
        """See Death."""
        self.effects.append(what)
        if len(self.effects) - 1 == self._at:
            raise Unavailable(f"refused: {what}")

    def over(self) -> None:
        """Everything works again."""
        self._at = None
