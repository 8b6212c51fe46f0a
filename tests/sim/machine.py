"""A machine with the service on it: leases and claims as shipped, on a bad clock and network."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from backends.claims import Claim, Claims
from backends.errors import Claimed, Fenced, Unavailable
from backends.leases import Lease, LeaseWatch, Terms
from tests.sim.faulty import FaultyRecords, Network
from tests.sim.flavours import Flavour
from tests.sim.judge import Judge, JudgedRecords
from tests.sim.kernel import Actor, Kernel, KernelLock

LOOK = 1.0
"""Seconds between two looks at all leases."""


@dataclass
class Ledger:
    """What the machine remembers over a crash of the service."""

    claims: dict[str, Claim] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)


class Machine:
    """Outlives its service. Whatever has a claim in `writing` is written by a data path of its
    own, which obeys the last `valid_until` that the service told it, even when that is dead."""

    def __init__(
        self, name: str, node: str, terms: Terms, kernel: Kernel, network: Network, rate: float
    ) -> None:
        self.name, self.node, self.terms = name, node, terms
        self.kernel, self.network = kernel, network
        self.rate, self.offset = rate, network.chance.uniform(-1e6, 1e6)
        self.stopped_until = 0.0
        self.opaque = False
        self.glances: tuple[str, ...] = ()
        """Nodes whose leases are read one by one; none: all are listed."""
        self.ledger = Ledger()
        self.writing: dict[str, Claim] = {}
        self.deadlines: dict[str, float] = {}
        self.service: Service | None = None

    def clock(self) -> float:
        """Monotonic, with a rate of its own."""
        return self.offset + self.rate * self.kernel.now

    def believes(self, uuid: str) -> bool:
        """See Believer."""
        if self.stopped_until > self.kernel.now or uuid not in self.writing:
            return False
        if self.service:
            self.service.tell_data_path()
        return self.clock() < self.deadlines.get(self.writing[uuid].session, float("-inf"))

    def crash(self, *, reboot: bool) -> None:
        """The service dies here and now; with `reboot` its data paths do, too."""
        if self.service:
            self.service.tell_data_path()
            for actor in self.service.actors:
                actor.kill()
            self.service = None
        if reboot:
            self.writing.clear()
            self.ledger.sessions.clear()


class Service:
    """One run of the service: keeper, watcher and a worker that uses volumes."""

    names = count()

    def __init__(
        self,
        machine: Machine,
        store: JudgedRecords,
        judge: Judge,
        uuids: list[str],
        flavour: Flavour,
        chance: random.Random,
    ) -> None:
        self.flavour = flavour
        self.machine, self.judge, self.uuids, self.chance = machine, judge, uuids, chance
        self.kernel = machine.kernel
        records = FaultyRecords(machine.network, store, opaque=machine.opaque)
        self.watch = LeaseWatch(records, machine.clock)
        ledger = machine.ledger
        self.lease = Lease(
            records,
            machine.node,
            self.watch,
            clock=machine.clock,
            new_session=lambda: f"{machine.name}-{next(self.names)}",
            terms=machine.terms,
            own=set(ledger.sessions),
            remember=ledger.sessions.add,
        )
        self.lease._lock = KernelLock(self.kernel)  # type: ignore[assignment]
        self.claims = Claims(records, self.lease, now=lambda: f"{self.kernel.now:.3f}")
        machine.service = self
        self.actors = [self.spawn(self.keep), self.spawn(self.observe), self.spawn(self.work)]

    def spawn(self, body: Callable[[], None]) -> Actor:
        """Run `body` as part of this service."""
        return Actor(self.kernel, body, lambda: self.machine.stopped_until)

    def tell_data_path(self) -> None:
        """Pass the lease's end on."""
        if self.lease.session:
            self.machine.deadlines[self.lease.session] = self.lease.valid_until

    # -- keeper and watcher ----------------------------------------------------------------

    def keep(self) -> None:
        """Renew, find lost claims, carry claims over into a new session."""
        checked = self.kernel.now
        while True:
            self.kernel.sleep(self.machine.terms.renew / self.machine.rate)
            try:
                if self.machine.writing:
                    self.renew()
                if self.kernel.now - checked > self.machine.terms.ttl:
                    self.drop_lost()
                    checked = self.kernel.now
            except Unavailable:
                continue

    def renew(self) -> None:
        """One renewal, and what follows when the lease was lost, here or in another actor."""
        with contextlib.suppress(Fenced):
            self.lease.renew()
        for uuid, claim in list(self.machine.writing.items()):
            if claim.session != self.lease.session:
                self.carry_over(uuid, claim)
            elif self.machine.believes(uuid):
                self.judge.holds(self.machine, uuid, claim.epoch)

    def carry_over(self, uuid: str, claim: Claim) -> None:
        """The data path of a lost session has stopped; may it go on in the new one?"""
        try:
            resumed = self.claims.resume(claim)
        except (Fenced, Claimed):
            self.stop_writing(uuid, claim)
            return
        if self.machine.writing.get(uuid) == claim:
            self.machine.writing[uuid] = self.machine.ledger.claims[uuid] = resumed
            self.judge.holds(self.machine, uuid, resumed.epoch)

    def drop_lost(self) -> None:
        """What an operator took away."""
        claims = dict(self.machine.writing)
        for uuid in self.claims.lost(claims.values()):
            self.stop_writing(uuid, claims[uuid])

    def stop_writing(self, uuid: str, claim: Claim) -> None:
        """This claim is gone."""
        if self.machine.writing.get(uuid) == claim:
            del self.machine.writing[uuid]

    def observe(self) -> None:
        """Watch leases: all of them at once, or, as where listing costs, one after the other."""
        while True:
            with contextlib.suppress(Unavailable):
                if self.machine.glances:
                    self.watch.glance(self.machine.glances)
                else:
                    self.watch.look()
            self.kernel.sleep(LOOK)

    # -- the worker ------------------------------------------------------------------------

    def work(self) -> None:
        """Recover what the ledger remembers, then mount and unmount volumes for ever."""
        for uuid, claim in list(self.machine.ledger.claims.items()):
            self.recover(uuid, claim)
        while True:
            self.kernel.sleep(self.chance.uniform(0.0, 0.1 if self.flavour.eager else 1.5))
            self.visit(self.chance.choice(self.uuids))

    def visit(self, uuid: str) -> None:
        """Use a volume, and perhaps let it go; perhaps want it again when that was not heard."""
        claim = self.machine.writing.get(uuid) or self.mount(uuid)
        if claim:
            self.use(uuid, claim)
            if self.chance.random() < self.flavour.release:
                heard = self.unmount(uuid, claim)
                if not heard and self.chance.random() < 0.7:
                    self.visit(uuid)

    def recover(self, uuid: str, claim: Claim) -> None:
        """Go on with what still writes; release the rest. The keeper may have carried it over
        while the reply to a resumption was lost."""
        for _ in range(40):
            claim = self.machine.ledger.claims.get(uuid, claim)
            try:
                if self.machine.writing.get(uuid) == claim:
                    resumed = self.claims.resume(claim)
                    self.machine.writing[uuid] = self.machine.ledger.claims[uuid] = resumed
                    self.judge.holds(self.machine, uuid, resumed.epoch)
                else:
                    self.claims.release(claim)
                return
            except Fenced:
                self.stop_writing(uuid, claim)
                return
            except (Unavailable, Claimed):
                self.kernel.sleep(0.5)

    def mount(self, uuid: str) -> Claim | None:
        """Claim; from here on the machine believes that it may write."""
        claim = self.claim(uuid, tries=200 if self.flavour.eager else self.chance.randrange(1, 25))
        if claim is None:
            return None
        self.machine.ledger.claims[uuid] = claim
        self.machine.writing[uuid] = claim
        self.judge.holds(self.machine, uuid, claim.epoch)
        return claim

    def claim(self, uuid: str, tries: int) -> Claim | None:
        """Ask until it is had, at most `tries` times."""
        force = self.judge.forced and self.chance.random() < 0.1
        for _ in range(tries):
            started, pause = self.kernel.now, self.chance.uniform(0.02, 0.6)
            try:
                claim = self.claims.acquire(uuid, name=uuid, force=force)
            except Claimed as error:
                if "node name" not in error.message:
                    self.judge.denied(uuid, started, self.machine.node)
                if error.retry_after:  # to the very moment
                    pause = min(pause, error.retry_after / self.machine.rate + 1e-6)
            except (Unavailable, Fenced):
                pass
            else:
                self.judge.grants += 1
                return claim
            self.kernel.sleep(pause)
        return None

    def use(self, uuid: str, claim: Claim) -> None:
        """Fence whoever came before, then write for a while."""
        self.kernel.sleep(self.machine.network.latency())
        if not self.judge.fence(uuid, claim.epoch):
            self.stop_writing(uuid, claim)
            return
        for _ in range(self.chance.randint(1, self.flavour.writes)):
            self.kernel.sleep(self.chance.uniform(0.05, 1.0))
            current = self.machine.writing.get(uuid)
            if current is None:
                return
            if not self.judge.write(self.machine, uuid, current.epoch):
                self.stop_writing(uuid, current)
                return

    def unmount(self, uuid: str, claim: Claim) -> bool:
        """Stop writing, then release, perhaps more than once; whether the outcome is known."""
        current = self.machine.writing.pop(uuid, None)
        for _ in range(self.chance.choice([1, 1, 3]) if current else 0):
            try:
                self.claims.release(current or claim)
                self.machine.ledger.claims.pop(uuid, None)
                return True
            except Fenced:
                return True
            except (Unavailable, Claimed):
                self.kernel.sleep(self.chance.uniform(0.0, 0.3))
        return current is None
