"""One run: a few machines, a store, and everything that goes wrong, all from one seed."""

import random
import sys
from collections.abc import Callable
from dataclasses import replace

from backends.errors import Claimed, Fenced, Unavailable
from backends.leases import Terms
from tests.sim.faulty import Network
from tests.sim.flavours import DRIFT, FLAVOURS, Flavour
from tests.sim.judge import Broken, Judge, JudgedRecords
from tests.sim.kernel import Actor, Kernel
from tests.sim.machine import LOOK, Machine, Service

CHAOS = 20.0
"""Seconds of trouble in each run, before calm and the question whether all can be had."""
FADING = ("slow holder", "slow others", "flaky holder")


class World:
    """Everything that one seed decides."""

    def __init__(self, seed: int, flavour: Flavour | None = None) -> None:
        self.chance = chance = random.Random(seed)
        self.flavour = flavour = flavour or FLAVOURS[seed % len(FLAVOURS)]
        self.kernel = Kernel()
        self.judge = Judge(self.kernel, forced=chance.random() < flavour.forced)
        self.store = JudgedRecords(self.judge)
        self.uuids = [f"volume-{n}" for n in range(chance.choice(flavour.volumes))]
        self.slow = chance.choice(flavour.slow)
        names = [f"m{n}" for n in range(chance.choice(flavour.machines))]
        rates = flavour.rates(len(names), chance)
        self.machines = [self.machine(n, n, rate) for n, rate in zip(names, rates, strict=True)]
        if chance.random() < flavour.clones:
            self.machines.append(self.machine("clone-of-m0", "m0", chance.choice(rates)))
        self.judge.believers = list(self.machines)
        opaque = chance.random() < 0.3
        for machine in self.machines:
            machine.opaque = opaque
            machine.glances = tuple(names) if seed % 3 == 0 and not opaque else ()

    def machine(self, name: str, node: str, rate: float) -> Machine:
        """A machine of that name, and under that node name."""
        terms = Terms(ttl=self.chance.choice(self.flavour.ttls), renew=2.0, margin=0.0, drift=DRIFT)
        network = Network(self.kernel, self.chance, slow=self.slow)
        return Machine(name, node, terms, self.kernel, network, rate)

    def start(self, machine: Machine) -> Service:
        """Start the service of a machine."""
        return Service(machine, self.store, self.judge, self.uuids, self.flavour, self.chance)

    def run(self) -> None:
        """Raise Broken when a rule was."""
        try:
            for number, machine in enumerate(self.machines):
                self.kernel.at(self.chance.uniform(0, 2), self._starter(machine))
                troubled = number < self.flavour.troubled
                for _ in range(troubled * self.chance.choice(self.flavour.per_machine)):
                    self.kernel.at(self.chance.uniform(0, CHAOS), self._trouble(machine))
            self.kernel.run(CHAOS)
            self._all_can_be_had()
        finally:
            self.kernel.stop()

    def _starter(self, machine: Machine) -> Callable[[], None]:
        def act() -> None:
            if machine.service is None and not machine.network.calm:
                if machine.name != machine.node:  # a clone: the disk of the original, booted anew
                    original = self.machines[0].ledger
                    machine.ledger = replace(original, claims=dict(original.claims), sessions=set())
                self.start(machine)

        return act

    def _holder(self) -> Machine | None:
        changes = self.judge.changes.get(self.uuids[0], [(0.0, "")])
        return next((m for m in self.machines if m.name == changes[-1][1]), None)

    def _fade(self, holder: Machine, kind: str, length: float) -> None:
        """The way to the store gets bad; then the holder is cut off, and all others are well."""
        now = self.kernel.now
        cut = now + self.chance.uniform(2.0, 6.0)
        if kind == "flaky holder":
            holder.network.flaky_until = cut
        slow = [
            m for m in self.machines if kind == ("slow " + ("holder" if m is holder else "others"))
        ]
        self._slow(slow, 0.6, now, cut)
        self._cut(holder, cut, length)

    def _return(self, holder: Machine, length: float) -> None:
        """The holder is cut off, and comes back while the store is slow for all others."""
        now = self.kernel.now
        self._cut(holder, now, length)
        others = [machine for machine in self.machines if machine is not holder]
        self._slow(others, 0.4, now + 4.0, now + length + 3.0)

    def _cut(self, machine: Machine, time: float, length: float) -> None:
        def act() -> None:
            machine.network.cut_until = time + length

        self.kernel.at(time, act)

    def _slow(self, machines: list[Machine], share: float, start: float, end: float) -> None:
        def setter(share: float) -> Callable[[], None]:
            def act() -> None:
                for machine in machines:
                    machine.network.slow = share

            return act

        self.kernel.at(start, setter(share))
        self.kernel.at(end, setter(self.slow))

    def _trouble(self, machine: Machine) -> Callable[[], None]:
        def act() -> None:
            now, chance = self.kernel.now, self.chance
            kind = chance.choice(self.flavour.troubles)
            length = chance.uniform(*chance.choice(self.flavour.lengths))
            if kind == "stop":
                machine.stopped_until = now + length
            elif kind == "cut":
                self._cut(machine, now, length)
            elif kind == "cut holder":
                self._cut(self._holder() or machine, now, length)
            elif kind == "flaky":
                machine.network.flaky_until = now + length
            elif kind in FADING:
                self._fade(self._holder() or machine, kind, length)
            elif kind == "return":
                self._return(self._holder() or machine, length)
            else:
                machine.crash(reboot=kind == "reboot")
                self.kernel.at(now + length, self._starter(machine))

        return act

    def _all_can_be_had(self) -> None:
        """All machines but one die; the network is well; the last one gets every volume in time."""
        survivor = self.chance.choice(self.machines)
        for machine in self.machines:
            machine.network.calm = True
            machine.stopped_until = 0.0
            reboot = machine is not survivor or self.chance.random() < 0.5
            machine.crash(reboot=reboot)
        service = self.start(survivor)
        service.actors.pop().kill()
        got: list[str] = []
        service.actors.append(Actor(self.kernel, lambda: self._take_all(service, got), lambda: 0.0))
        ttl = max(machine.terms.ttl for machine in self.machines)
        self.kernel.run(self.kernel.now + ttl / (1 - DRIFT) + LOOK + 1.0)
        if got != self.uuids:
            raise Broken(f"{survivor.name} has only {got} of {self.uuids}, all others being dead")

    def _take_all(self, service: Service, got: list[str]) -> None:
        for uuid in self.uuids:
            while uuid not in got:
                started = self.kernel.now
                try:
                    claim = service.claims.acquire(uuid, name=uuid)
                except Claimed as error:
                    if "node name" not in error.message:
                        self.judge.denied(uuid, started, service.machine.node)
                except (Unavailable, Fenced):
                    pass
                else:
                    service.machine.writing[uuid] = claim
                    self.judge.holds(service.machine, uuid, claim.epoch)
                    got.append(uuid)
                    return_at_once = self._released_is_free(service, uuid)
                    if not return_at_once:
                        raise Broken(f"{uuid} was released and not had again at once")
                self.kernel.sleep(0.1)

    def _released_is_free(self, service: Service, uuid: str) -> bool:
        claim = service.machine.writing.pop(uuid)
        service.claims.release(claim)
        again = service.claims.acquire(uuid, name=uuid)
        return again.epoch == claim.epoch + 1


if __name__ == "__main__":
    once = World(int(sys.argv[1]))
    once.run()
    for uuid, changes in once.judge.changes.items():
        print(uuid, *(f"{time:.3f}:{holder or 'released'}" for time, holder in changes), sep="\n  ")
