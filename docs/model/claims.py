"""The protocol of claims and node leases (`backends/claims.py`, `leases.py`), every state of it.

    python -m docs.model.claims [NAME ...]

Every request to the store is a step of its own; between any two a node may be slow, its service may
crash, the machine may reboot, a reply may be lost, a write may arrive when its sender has long
given up. Time is a tick that everybody sees. Clocks may run at different rates within a bound: the
worst case of that bound is that a holder believes exactly as long as an observer waits, so both are
`ttl` ticks here, and the code's formula for `trust` has to make that true.

Left out, and covered by the simulation only: two machines under one name, listings that are older
than reads, operators who vouch for a death, several volumes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from docs.model.claims_rules import INVARIANTS, STEP_RULES, hopes
from docs.model.claims_state import (
    EARLIER,
    NOBODY,
    NONE,
    NOW,
    PAST,
    Claim,
    Job,
    Late,
    Lease,
    Left,
    Node,
    Renewal,
    State,
    Writer,
)
from docs.model.explorer import Model, command

Steps = Iterator[tuple[str, State]]


@dataclass
class Claims(Model[State]):
    """The bounds of one exploration."""

    nodes: int = 2
    epochs: int = 2
    ttl: int = 1
    """For how many ticks an observer waits."""
    crashes: int = 1
    reboots: int = 0
    faults: int = 1
    """Replies lost, writes that arrive late."""

    def __post_init__(self) -> None:
        self.invariants = INVARIANTS
        self.step_rules = STEP_RULES
        self.hopes = hopes(self.nodes, self.epochs)

    @property
    def trust(self) -> int:
        """For how many ticks a holder believes."""
        return self.ttl

    def initial(self) -> Iterator[State]:
        yield State(
            claim=Claim(0, NOBODY, NONE, False),
            floor=0,
            leases=tuple(Lease(NONE, False) for _ in range(self.nodes)),
            nodes=tuple(Node() for _ in range(self.nodes)),
            late=frozenset(),
            left=Left(self.crashes, self.reboots, self.faults),
        )

    def steps(self, state: State) -> Steps:
        for step, after in self._steps(state):
            yield step, self.settled(after)

    def settled(self, state: State) -> State:
        """Who expects what is no longer there can only fail; it may as well be at once."""
        for number, node in enumerate(state.nodes):
            job = node.job
            lost = job and (
                (job.doing == "ends" and not job.lease_fits)
                or (job.doing in ("judges", "claims") and not job.fits)
            )
            if lost:
                state = state.with_node(number, job=None)
            elif job and job.doing != "ends" and not (job.fits and job.lease_fits):
                state = state.with_node(number, job=job._replace(fits=True, lease_fits=True))
        return state

    def _steps(self, state: State) -> Steps:
        yield "a tick", self.tick(state)
        for write in state.late:
            yield from self.arrives_late(state, write)
        for number, node in enumerate(state.nodes):
            name = "abc"[number]
            for step, after in self.of_node(state, number, node):
                yield f"{name} {step}", after

    def of_node(self, state: State, number: int, node: Node) -> Steps:
        """What one node, or the world to it, may do next."""
        yield from self.deaths(state, number, node)
        if node.renewal is None:
            yield from self.lease_begins(state, number, node)
        else:
            yield from self.lease_goes_on(state, number, node, node.renewal)
        if node.job is None:
            yield from self.claim_begins(state, number, node)
        else:
            doing = getattr(self, node.job.doing)
            yield from doing(state, number, node, node.job)

    # -- the world -------------------------------------------------------------------------

    def tick(self, state: State) -> State:
        """Time passes for everybody."""
        nodes = []
        for node in state.nodes:
            renewal, writer = node.renewal, node.writer
            if renewal:
                renewal = renewal._replace(age=min(renewal.age + 1, self.trust))
            if writer:
                writer = writer._replace(until=max(0, writer.until - 1))
            trust = max(0, node.trust - 1) if node.trust >= 0 else -1
            nodes.append(node._replace(trust=trust, renewal=renewal, writer=writer))
        leases = tuple(
            lease._replace(still=0 if lease.ended else min(lease.still + 1, self.ttl))
            for lease in state.leases
        )
        return state._replace(nodes=tuple(nodes), leases=leases)

    def arrives_late(self, state: State, write: Late) -> Steps:
        """What it expects still fits, or it would be gone."""
        if write.lease:
            yield "a lease arrives late", state.with_lease(write.node, write.lease)
        elif write.claim:
            yield "a claim arrives late", state.with_claim(write.claim)

    def deaths(self, state: State, number: int, node: Node) -> Steps:
        """kill -9 of the service, or power off; it starts again, and takes its time. What was
        sent may still arrive."""
        late = self.in_flight(state, number, node)
        if state.left.crashes:
            left = state.left._replace(crashes=state.left.crashes - 1)
            after = late._replace(left=left).renamed(number, {NOW: EARLIER})
            writer = after.nodes[number].writer
            yield "crashes", after.with_node(number, **Node(writer=writer)._asdict())
        if state.left.reboots:
            left = state.left._replace(reboots=state.left.reboots - 1)
            after = late._replace(left=left).renamed(number, {NOW: PAST, EARLIER: PAST})
            yield "reboots", after.with_node(number, **Node()._asdict())

    def in_flight(self, state: State, number: int, node: Node) -> State:
        """The write that is under way is on its own now."""
        renewal = node.renewal
        if renewal is None or renewal.arrived or not renewal.fits:
            return state
        lease = Lease(EARLIER if renewal.opens else NOW, False)
        return state._replace(late=state.late | {Late(number, lease=lease)})

    def faulty(self, state: State) -> State | None:
        """One fault fewer; None when there was the last."""
        left = state.left
        return state._replace(left=left._replace(faults=left.faults - 1)) if left.faults else None

    # -- leases ----------------------------------------------------------------------------

    def lease_begins(self, state: State, number: int, node: Node) -> Steps:
        """Open a session, or renew it."""
        if node.trust < 0:
            if self.is_free(state.leases[number]):
                renewal = Renewal(opens=True, arrived=False, fits=True, age=0)
                yield "opens", state.with_node(number, renewal=renewal)
        elif node.trust < self.trust:
            renewal = Renewal(opens=False, arrived=False, fits=node.knows, age=0)
            yield "renews", state.with_node(number, renewal=renewal)

    def is_free(self, lease: Lease) -> bool:
        """Whether nobody else can live under this name."""
        return lease.ended or lease.session in (NONE, EARLIER) or self.stood_still(lease)

    def lease_goes_on(self, state: State, number: int, node: Node, renewal: Renewal) -> Steps:
        """It arrives, or is given up and arrives late or never; its reply is heard, or lost."""
        fault = self.faulty(state)
        if renewal.arrived:
            yield "has renewed", self.renewed(state, number, node, renewal)
            if fault:
                yield "hears no reply", fault.with_node(number, renewal=None)
            return
        if not renewal.fits:
            yield "is refused", self.refused(state, number, node)
            return
        lease = Lease(EARLIER if renewal.opens else NOW, False)
        written = state.with_lease(number, lease)
        yield "is heard", written.with_node(number, renewal=renewal._replace(arrived=True))
        if fault:
            yield "gives up", self.in_flight(fault, number, node).with_node(number, renewal=None)

    def renewed(self, state: State, number: int, node: Node, renewal: Renewal) -> State:
        """Believe from when it was *sent*."""
        if renewal.opens and renewal.fits:
            leases = list(state.leases)
            leases[number] = leases[number]._replace(session=NOW)
            state = state._replace(leases=tuple(leases))
        trust = self.believed(renewal)
        writer = node.writer
        if writer and writer.session == NOW:
            writer = writer._replace(until=max(trust, writer.until))
        return state.with_node(number, trust=trust, knows=renewal.fits, renewal=None, writer=writer)

    def believed(self, renewal: Renewal) -> int:
        """For how many more ticks."""
        return self.trust - renewal.age

    def refused(self, state: State, number: int, node: Node) -> State:
        """Read it: an earlier renewal of ours that was not heard, or the end of the lease."""
        lease = state.leases[number]
        if node.trust < 0:
            return state.with_node(number, renewal=None)
        if lease.session == NOW and not lease.ended:
            return state.with_node(number, renewal=None, knows=True)
        lost = state.renamed(number, {NOW: EARLIER})
        return lost.with_node(
            number, trust=-1, knows=False, renewal=None, job=self.job_after_loss(node)
        )

    def job_after_loss(self, node: Node) -> Job | None:
        """Whoever acquires finds the session changed, and gives up."""
        return None

    # -- claims ----------------------------------------------------------------------------

    def claim_begins(self, state: State, number: int, node: Node) -> Steps:
        """Acquire, resume or let go. Each asks first for a lease that is believed in."""
        writer = node.writer
        if writer is None and node.trust > 0:
            yield "wants it", self.wanted(state, number, node)
        elif writer and writer.session != NOW and node.trust > 0:
            yield from self.resumes(state, number, writer)
        if writer and (writer.session == NOW or node.trust > 0):
            yield "stops writing", self.stops_writing(state, number, writer)

    def stops_writing(self, state: State, number: int, writer: Writer) -> State:
        """First; then the claim is given back."""
        return state.with_node(number, writer=None, job=Job("releases", epoch=writer.epoch))

    def wanted(self, state: State, number: int, node: Node) -> State:
        """Read the claim."""
        claim = state.claim
        if self.is_had(node, claim, number):
            return self.writing(state, number, claim.epoch)
        if not self.is_free_claim(claim, number):
            return state.with_node(number, job=Job("judges", holder=claim.node))
        return state.with_node(number, job=Job("claims"))

    def is_had(self, node: Node, claim: Claim, number: int) -> bool:
        """What merely reads as ours may be about to change: it is never believed."""
        return False

    def is_free_claim(self, claim: Claim, number: int) -> bool:
        """Nobody else's lease has to be looked at."""
        return not claim.held or claim.node == number

    def judges(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """Read the lease of the holder, after the claim."""
        lease = state.leases[job.holder]
        if lease.ended:
            yield "finds it ended", state.with_node(number, job=job._replace(doing="claims"))
        elif self.stood_still(lease):
            ends = job._replace(doing="ends", lease_fits=True)
            yield "finds it dead", state.with_node(number, job=ends)
        else:
            yield "finds it alive", state.with_node(number, job=None)

    def stood_still(self, lease: Lease) -> bool:
        """For a whole ttl."""
        return lease.still >= self.ttl

    def ends(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """Replace exactly the version of the lease that was watched."""
        if not job.lease_fits:
            yield "may not end it", state.with_node(number, job=None)
            return
        ended = self.ended(state.leases[job.holder])
        written = state.with_lease(job.holder, ended)
        after = job._replace(doing="claims") if job.fits else None
        yield "ends the lease", written.with_node(number, job=after)
        if fault := self.faulty(state):
            yield (
                "gives up ending",
                fault._replace(late=fault.late | {Late(job.holder, lease=ended)}).with_node(
                    number, job=None
                ),
            )

    def ended(self, lease: Lease) -> Lease:
        """For ever: its session never comes back."""
        return lease._replace(ended=True, still=0)

    def claims(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """Replace exactly the claim that was read, by the next epoch."""
        if not job.fits:
            yield "loses the race", state.with_node(number, job=None)
            return
        if state.claim.epoch >= self.epochs:
            return
        claim = Claim(self.next_epoch(state.claim), number, NOW, True)
        written = state.with_claim(claim)
        check = Job("checks", epoch=claim.epoch)
        yield "claims it", written.with_node(number, job=check)
        if fault := self.faulty(state):
            unheard = fault.with_claim(claim)
            yield "claims it unheard", unheard.with_node(number, job=None)
            late = fault._replace(late=fault.late | {Late(number, claim=claim)})
            yield "gives up claiming", late.with_node(number, job=None)

    def next_epoch(self, claim: Claim) -> int:
        """Of a new holder."""
        return claim.epoch + 1

    def checks(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """The lease once more: it may have been lost meanwhile."""
        if node.trust > 0:
            yield "writes", self.writing(state, number, job.epoch)

    def writing(self, state: State, number: int, epoch: int) -> State:
        """Shut out whoever came before, then write."""
        writer = Writer(epoch, NOW, max(0, state.nodes[number].trust))
        fenced = state._replace(floor=max(state.floor, self.floor_of(epoch)))
        return fenced.with_node(number, writer=writer, job=None)

    def floor_of(self, epoch: int) -> int:
        """Below this no writer is let in any more."""
        return epoch

    def resumes(self, state: State, number: int, writer: Writer) -> Steps:
        """Take the claim of an earlier session into this one, by replacing it."""
        claim = state.claim
        mine = claim.held and (claim.epoch, claim.node) == (writer.epoch, number)
        if not mine or claim.session == PAST:
            yield "is fenced", state.with_node(number, writer=None)
            return
        moved = claim._replace(session=NOW)
        trust = state.nodes[number].trust
        yield (
            "resumes",
            state.with_claim(moved).with_node(number, writer=Writer(claim.epoch, NOW, trust)),
        )
        if fault := self.faulty(state):
            yield "resumes unheard", fault.with_claim(moved)
            yield "gives up resuming", fault._replace(late=fault.late | {Late(number, claim=moved)})

    def releases(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """Give it up, if it is ours still; nothing of this node writes any more."""
        claim = state.claim
        idle = state.with_node(number, job=None)
        if not claim.held or (claim.epoch, claim.node) != (job.epoch, number):
            yield "has nothing to release", idle
            return
        free = self.free(claim)
        yield "releases", idle.with_claim(free)
        if fault := self.faulty(idle):
            yield "releases unheard", fault.with_claim(free)
            yield "gives up releasing", fault._replace(late=fault.late | {Late(number, claim=free)})

    def free(self, claim: Claim) -> Claim:
        """Released; the record and its epoch stay."""
        return claim._replace(held=False)


MODELS = {
    "nothing goes wrong": lambda: Claims(crashes=0, faults=0),
    "a crash": lambda: Claims(crashes=1, faults=0),
    "a reboot": lambda: Claims(crashes=0, reboots=1, faults=0),
    "a fault": lambda: Claims(crashes=0, faults=1),
    "a longer ttl": lambda: Claims(crashes=0, faults=0, ttl=2),
    "three epochs": lambda: Claims(crashes=1, faults=0, epochs=3),
    "a crash and a fault": lambda: Claims(crashes=1, faults=1),
    "three nodes": lambda: Claims(nodes=3, crashes=0, faults=0),
}

if __name__ == "__main__":
    command(MODELS, "Every state of claims and leases, within bounds.")
