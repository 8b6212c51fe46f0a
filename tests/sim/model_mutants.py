"""The protocol of claims with one rule broken in each, and the rule of the model that notices."""

from dataclasses import dataclass

from docs.model.claims import Claims, Steps
from docs.model.claims_state import (
    NOBODY,
    NONE,
    NOW,
    Claim,
    Job,
    Lease,
    Node,
    Renewal,
    State,
    Writer,
)


@dataclass
class Quiet(Claims):
    """Nothing goes wrong but what the protocol does itself."""

    crashes: int = 0
    faults: int = 0


@dataclass
class NoCompareAndSwap(Quiet):
    """The store writes whatever it is told to."""

    def settled(self, state: State) -> State:
        return state

    def claims(self, state: State, number: int, node: Node, job: Job) -> Steps:
        yield from super().claims(state, number, node, job._replace(fits=True))


@dataclass
class ReleaseForgetsTheEpoch(Quiet):
    """Releasing removes the record, as lock files do."""

    def free(self, claim: Claim) -> Claim:
        return Claim(0, NOBODY, NONE, False)


@dataclass
class EpochStays(Quiet):
    """A new holder gets the epoch of the old one."""

    def next_epoch(self, claim: Claim) -> int:
        return max(1, claim.epoch)


@dataclass
class ReleasesWhileWriting(Quiet):
    """The claim is given back before the storage is detached."""

    def stops_writing(self, state: State, number: int, writer: Writer) -> State:
        return state.with_node(number, job=Job("releases", epoch=writer.epoch))


@dataclass
class ValidFromTheReply(Quiet):
    """The holder counts from when it heard that it had renewed."""

    def believed(self, renewal: Renewal) -> int:
        return self.trust


@dataclass
class AnUnheardRenewalCountsFromNow(Quiet):
    """A renewal whose reply was lost, found in the store, is believed in as if just sent."""

    faults: int = 1

    def refused(self, state: State, number: int, node: Node) -> State:
        after = super().refused(state, number, node)
        found = after.nodes[number]
        if not found.knows:
            return after
        writer = found.writer._replace(until=self.trust) if found.writer else None
        return after.with_node(number, trust=self.trust, writer=writer)


@dataclass
class NoAllowanceForDrift(Quiet):
    """By its own clock the holder believes for a ttl, which by an observer's is longer."""

    @property
    def trust(self) -> int:
        return self.ttl + 1


@dataclass
class NoWaiting(Quiet):
    """A claimant ends the holder's lease as soon as it wants the claim."""

    def stood_still(self, lease: Lease) -> bool:
        return True


@dataclass
class TakeoverWithoutEndingTheLease(Quiet):
    """A lease that stood still is simply taken for dead: nothing stops its holder's return."""

    def ended(self, lease: Lease) -> Lease:
        return lease


@dataclass
class TakeoverEndsAnyVersion(Quiet):
    """The lease is ended, also if it was renewed since it was looked at."""

    def settled(self, state: State) -> State:
        return state

    def ends(self, state: State, number: int, node: Node, job: Job) -> Steps:
        yield from super().ends(state, number, node, job._replace(lease_fits=True))


@dataclass
class AnEndedLeaseRevives(Quiet):
    """A holder whose lease was ended writes it anew and goes on in the same session."""

    def refused(self, state: State, number: int, node: Node) -> State:
        if node.trust < 0:
            return super().refused(state, number, node)
        return state.with_node(number, renewal=None, knows=True)


@dataclass
class ReadIsHad(Quiet):
    """A record that reads as ours is believed, though a late release may be under way."""

    faults: int = 1

    def is_had(self, node: Node, claim: Claim, number: int) -> bool:
        return claim.held and claim.node == number and claim.session == NOW


@dataclass
class ResumeByReading(Quiet):
    """A new session takes an old claim for its own without replacing the record."""

    crashes: int = 1

    def resumes(self, state: State, number: int, writer: Writer) -> Steps:
        claim = state.claim
        if claim.held and (claim.epoch, claim.node) == (writer.epoch, number):
            trust = state.nodes[number].trust
            yield "resumes", state.with_node(number, writer=Writer(claim.epoch, NOW, trust))
        else:
            yield "is fenced", state.with_node(number, writer=None)


@dataclass
class VerdictBeforeTheClaimWasRead(Quiet):
    """The lease is looked at first: its holder may have come back and resumed in between."""

    crashes: int = 1

    def judges(self, state: State, number: int, node: Node, job: Job) -> Steps:
        for step, after in super().judges(state, number, node, job):
            judged = after.nodes[number].job
            if judged and judged.doing == "claims":
                after = after.with_node(number, job=judged._replace(doing="reads"))
            yield step, after

    def reads(self, state: State, number: int, node: Node, job: Job) -> Steps:
        """The claim, only now."""
        yield "reads the claim", state.with_node(number, job=Job("claims"))


@dataclass
class GrantedWithoutAnotherLook(Quiet):
    """Who has claimed writes, although its session was lost meanwhile."""

    def job_after_loss(self, node: Node) -> Job | None:
        return node.job

    def checks(self, state: State, number: int, node: Node, job: Job) -> Steps:
        yield "writes", self.writing(state, number, job.epoch)


@dataclass
class NobodyIsFenced(Quiet):
    """A new holder does not shut out those before it."""

    def floor_of(self, epoch: int) -> int:
        return 0


@dataclass
class NeverTakenOver(Quiet):
    """The dead keep what they had."""

    def stood_still(self, lease: Lease) -> bool:
        return False


@dataclass
class AReleasedClaimWaitsForTheLease(Quiet):
    """A clean release is treated like a death."""

    def is_free_claim(self, claim: Claim, number: int) -> bool:
        return claim.node in (number, NOBODY)


MUTANTS: list[tuple[type[Claims], str]] = [
    (NoCompareAndSwap, "live claim is not stolen"),
    (ReleaseForgetsTheEpoch, "epochs only rise"),
    (EpochStays, "epochs only rise"),
    (ReleasesWhileWriting, "no two nodes"),
    (ValidFromTheReply, "believed in is not ended"),
    (AnUnheardRenewalCountsFromNow, "believed in is not ended"),
    (NoAllowanceForDrift, "believed in is not ended"),
    (NoWaiting, "believed in is not ended"),
    (TakeoverWithoutEndingTheLease, "live claim is not stolen"),
    (TakeoverEndsAnyVersion, "believed in is not ended"),
    (AnEndedLeaseRevives, "live claim is not stolen"),
    (ReadIsHad, "no two nodes"),
    (ResumeByReading, "live claim is not stolen"),
    (VerdictBeforeTheClaimWasRead, "live claim is not stolen"),
    (GrantedWithoutAnotherLook, "live claim is not stolen"),
    (NobodyIsFenced, "storage refuses a stale writer"),
    (NeverTakenOver, "gets what the dead had"),
    (AReleasedClaimWaitsForTheLease, "gets what is released, at once"),
]
