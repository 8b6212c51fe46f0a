"""Who may write a volume: claims with an epoch that only rises.

`claims/<uuid>` = {epoch, node, session, state held|released, fence, stale, body}. A claim is had
by replacing the record with the next epoch, and by nothing else: what was merely *read* may be
about to change by a late write, so nobody ever believes in a claim for having read it.

A claim is free when it is released, or when the node lease of its holder has ended. A node whose
lease has ended holds nothing, whatever the records say, until it has a new session and has
replaced the record itself (`resume`, `acquire`). So of a claimant that judged a node dead and then
slept, and that node coming back, exactly one replaces the record, and the other knows.

Releasing keeps the record and its epoch. `retire` removes it together with its volume, whose uuid
never comes again; whoever attaches looks for the volume once more *after* it has the claim.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from backends.errors import Claimed, Conflict, Damaged, Fenced, Unavailable
from backends.leases import KIND as NODES
from backends.leases import Lease, LeaseState, end
from backends.records import Record, Records
from backends.typed import typed

KIND = "claims"
FORMAT = 1
_TRIES = 4
"""Lost races for one record before the caller is asked to come again."""
_FEW = 8
"""Up to so many claims it is cheaper to read each than to list all."""


@dataclass(frozen=True)
class Stale:
    """A holder that lost its claim without releasing it and may still write: to be fenced."""

    epoch: int
    node: str
    session: str
    fence: Mapping[str, str]
    """What the holder said is needed to fence it: client addresses, watchers."""


@dataclass(frozen=True)
class Claim:
    """The right of one node to write one volume, as granted under `epoch`."""

    uuid: str
    node: str
    session: str
    epoch: int
    stale: tuple[Stale, ...] = ()
    """Whom the backend has to fence before it writes; empty after `amend(settled=True)`."""
    body: str = ""
    """The backend's own, opaque here."""


@dataclass(frozen=True)
class Holder:
    """A claim as anybody may see it."""

    node: str
    epoch: int
    held: bool
    since: str
    """Wall time of the holder, for people only."""
    lease_age: float | None
    """Seconds since the node's lease was last seen to move; None when it was never watched."""


@dataclass(frozen=True)
class _State:
    epoch: int
    node: str
    session: str
    held: bool
    since: str
    fence: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stale: tuple[Stale, ...] = ()
    body: str = ""

    def encode(self) -> bytes:
        fields = asdict(replace(self, fence=dict(self.fence), stale=()))
        stale = [asdict(replace(s, fence=dict(s.fence))) for s in self.stale]
        return json.dumps({"format": FORMAT, **fields, "stale": stale}).encode()

    @classmethod
    def decode(cls, record: Record) -> "_State":
        try:
            fields = json.loads(record.value)
            if fields.pop("format") != FORMAT:
                raise Damaged(f"{record.key} was written by a newer version; upgrade this node")
            stale = tuple(Stale(**entry) for entry in _listed(fields.pop("stale")))
            return typed(cls(**fields, stale=stale))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(
                f"{record.key} is not a claim: {error}; nobody gets the volume until that record "
                "is repaired"
            ) from error

    def is_of(self, claim: Claim) -> bool:
        return (self.epoch, self.node, self.session) == (claim.epoch, claim.node, claim.session)

    def overtaken(self) -> tuple[Stale, ...]:
        """Whom the next holder has to fence."""
        if not self.held or not self.fence:
            return self.stale
        return (*self.stale, Stale(self.epoch, self.node, self.session, self.fence))


class Claims:
    """The claims of this node, in the records of one profile. Thread-safe between volumes; calls
    for one volume must not overlap. Every method may raise Unavailable: then what was asked may
    or may not have happened, and the same call made again finishes it."""

    def __init__(self, records: Records, lease: Lease, now: Callable[[], str]) -> None:
        """`now`: the wall time as text, for people only."""
        self._records = records
        self._lease = lease
        self._now = now
        self._lock = threading.Lock()
        self._granted: dict[str, tuple[Claim, str]] = {}
        self._verified: dict[str, tuple[Claim, str | None]] = {}

    def acquire(self, uuid: str, *, name: str, force: bool = False) -> Claim:
        """The right to write the volume `uuid`, called `name` in messages.

        Already had in this session: the same claim. Absent, released, or its holder's lease has
        ended: the next epoch. Held by a node that has not been watched for its whole ttl:
        Claimed, naming it. `force`: an operator vouches that the holder is dead; it is not
        waited for, and finds out when it next verifies. Fenced: this node's own lease was lost
        meanwhile; stop what it still writes, then ask again."""
        for _ in range(_TRIES):
            session = self._lease.hold()
            record = self._records.get(f"{KIND}/{uuid}")
            state = _State.decode(record) if record else None
            if record and (had := self._had(uuid, session, record)):
                return had
            if state and state.held and state.node != self._lease.node and not force:
                self._check_over(name, state)
            try:
                return self._grant(uuid, session, record, state)
            except Conflict:
                continue
        raise Unavailable(f"volume {name}: many nodes want it at once; try again")

    def resume(self, claim: Claim) -> Claim:
        """Take a claim of an earlier session of this node into the present one, epoch unchanged,
        for a writer that went on meanwhile. Fenced when it has passed to another."""
        session = self._lease.hold()
        state, record = self._mine(claim)
        with self._lock:
            self._granted.pop(claim.uuid, None)
        resumed = replace(state, session=session)
        return self._believe(claim.uuid, resumed, self._replace(claim, record, resumed))

    def verify(self, claim: Claim) -> Claim:
        """The claim as it stands. Fenced when it has passed to another, or this process has not
        acquired or resumed it, or has begun to release it."""
        state, record = self._present(claim)
        return self._believe(claim.uuid, state, record.version)

    def amend(
        self,
        claim: Claim,
        *,
        fence: Mapping[str, str] | None = None,
        body: str | None = None,
        settled: bool = False,
    ) -> Claim:
        """Write into a held claim. `fence`: what it takes to fence *this* holder, to be written
        before its first write to the volume. `settled`: everyone in `claim.stale` is fenced.
        `body`: the backend's own. Fenced when the claim has passed to another."""
        state, record = self._present(claim)
        changed = replace(
            state,
            fence=state.fence if fence is None else dict(fence),
            body=state.body if body is None else body,
            stale=() if settled else state.stale,
        )
        return self._believe(claim.uuid, changed, self._replace(claim, record, changed))

    def release(self, claim: Claim) -> None:
        """Give the claim up; the next node gets it at once. Call when nothing of this node can
        write any more. A claim of an earlier session may be given too. Released already: does
        nothing. Fenced when it has passed to another."""
        self._let_go(claim)
        state, record = self._mine(claim, or_released=True)
        if state.held:
            released = replace(state, held=False, fence={}, since=self._now())
            self._replace(claim, record, released)

    def retire(self, claim: Claim) -> None:
        """Remove the record of a held claim whose volume is gone. Fenced as in `release`."""
        self._let_go(claim)
        _, record = self._mine(claim)
        try:
            self._records.delete(record.key, expected=record.version)
        except Conflict:
            raise Unavailable(f"claim {claim.uuid} changed meanwhile; try again") from None

    @property
    def any(self) -> bool:
        """Whether this process has acquired or resumed a claim and has not begun to release it."""
        with self._lock:
            return bool(self._granted)

    def lost(
        self, claims: Iterable[Claim], stamps: Mapping[str, str] | None = None
    ) -> dict[str, Fenced]:
        """Which of these claims this node has no more, by uuid, each with the reason. Reads only
        those that changed since they were last read; call it every ttl or so: besides a lost
        lease, which `renew` tells, only a forced takeover is found by this. `stamps`: those of all
        claims, if somebody has just listed them."""
        held = {claim.uuid: claim for claim in claims}
        found: dict[str, Fenced] = {}
        if stamps is None:
            stamps = self._records.stamps(KIND) if len(held) > _FEW else {}
        for uuid, claim in held.items():
            mark = (claim, stamps.get(f"{KIND}/{uuid}"))
            if mark[1] and self._verified.get(uuid) == mark:
                continue
            try:
                self.verify(claim)
                self._verified[uuid] = mark
            except Fenced as reason:
                found[uuid] = reason
            except Damaged:
                continue  # nobody can take it over either; whoever asks for it is told
        return found

    def holder(self, uuid: str) -> Holder | None:
        """Who has, or last had, the claim; None when nobody ever had it."""
        record = self._records.get(f"{KIND}/{uuid}")
        if record is None:
            return None
        state = _State.decode(record)
        age = self._lease.watch.age(state.node)
        return Holder(state.node, state.epoch, state.held, state.since, age)

    def _had(self, uuid: str, session: str, record: Record) -> Claim | None:
        """The claim, if the record is just as this session wrote it and nothing is under way."""
        with self._lock:
            claim, version = self._granted.get(uuid, (None, ""))
        if claim and claim.session == session and version == record.version:
            return claim
        return None

    def _check_over(self, name: str, state: _State) -> None:
        """Return when the holder's lease has ended, ending it if it stood still for its ttl.
        Reads the lease after the claim: a node that came back since has replaced the claim."""
        record = self._records.get(f"{NODES}/{state.node}")
        ttl = self._lease.terms.ttl
        if record:
            lease = LeaseState.decode(record)
            if lease.ended:
                return
            ttl = lease.ttl
        version = record.version if record else None
        age = self._lease.watch.standing(state.node, version)
        if age < ttl:
            raise _claimed(name, state, age, ttl)
        try:
            end(self._records, state.node, record, by=self._lease.node, ttl=ttl)
        except Conflict:
            raise _claimed(name, state, 0.0, ttl) from None

    def _grant(self, uuid: str, session: str, record: Record | None, state: _State | None) -> Claim:
        granted = _State(
            epoch=state.epoch + 1 if state else 1,
            node=self._lease.node,
            session=session,
            held=True,
            since=self._now(),
            stale=state.overtaken() if state else (),
            body=state.body if state else "",
        )
        expected = record.version if record else None
        written = self._records.put(f"{KIND}/{uuid}", granted.encode(), expected=expected)
        claim = self._believe(uuid, granted, written.version)
        if self._lease.hold() != session:
            raise Fenced(f"node {self._lease.node} lost its lease while it claimed {uuid}")
        return claim

    def _believe(self, uuid: str, state: _State, version: str) -> Claim:
        claim = Claim(uuid, state.node, state.session, state.epoch, state.stale, state.body)
        with self._lock:
            self._granted[uuid] = (claim, version)
        return claim

    def _let_go(self, claim: Claim) -> None:
        """Believe in it no more. A claim of an earlier session is touched only by the one machine
        that has the node's lease: not by a clone of it."""
        with self._lock:
            self._granted.pop(claim.uuid, None)
        if claim.session != self._lease.session:
            self._lease.hold()

    def _present(self, claim: Claim) -> tuple[_State, Record]:
        """As `_mine`, of a claim that this process has written itself: a record that only *reads*
        as ours may be about to change by a release whose reply was lost."""
        with self._lock:
            had, _ = self._granted.get(claim.uuid, (None, ""))
        if had is None or (had.session, had.epoch) != (claim.session, claim.epoch):
            raise Fenced(
                f"claim {claim.uuid} (epoch {claim.epoch}) is not held in this session; "
                "acquire or resume it"
            )
        return self._mine(claim)

    def _mine(self, claim: Claim, *, or_released: bool = False) -> tuple[_State, Record]:
        """The record of a claim that is still ours, else Fenced."""
        record = self._records.get(f"{KIND}/{claim.uuid}")
        if record is None:
            raise Fenced(f"claim {claim.uuid} (epoch {claim.epoch}) is gone with its volume")
        state = _State.decode(record)
        if self._is_ours(state, claim) and (state.held or or_released):
            return state, record
        with self._lock:
            self._granted.pop(claim.uuid, None)
        verb = "is held by" if state.held else "was last held by"
        raise Fenced(
            f"claim {claim.uuid} (epoch {claim.epoch}) is lost: it {verb} node {state.node} "
            f"(epoch {state.epoch}) since {state.since}"
        )

    def _is_ours(self, state: _State, claim: Claim) -> bool:
        """Also when a resumption was written and its reply, or the service, was lost: an epoch is
        granted once, and only the machine that has it moves it into a later session."""
        same = (state.epoch, state.node) == (claim.epoch, claim.node)
        moved = same and self._lease.ran_here(state.session)
        return state.is_of(claim) or moved

    def _replace(self, claim: Claim, record: Record, state: _State) -> str:
        try:
            return self._records.put(record.key, state.encode(), expected=record.version).version
        except Conflict:
            self._mine(claim)
            raise Unavailable(f"claim {claim.uuid} changed meanwhile; try again") from None


def _listed(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"stale is {str(value)[:60]!r}")
    return value


def _claimed(name: str, state: _State, age: float, ttl: float) -> Claimed:
    return Claimed(
        f"volume {name} is in use by node {state.node} since {state.since} (epoch {state.epoch}); "
        f"its lease last moved {age:.1f} s ago; stop the service there, or, if that node is dead, "
        f"wait {ttl - age:.0f} s or run `kedge takeover {name}`",
        retry_after=ttl - age,
    )
