"""Every safety rule of claims and leases, broken on purpose: one function breaks one rule."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backends import claims
from backends.claims import Claim, Claims
from backends.errors import Claimed, Conflict, Unavailable
from backends.leases import Lease, LeaseState, LeaseWatch, Terms
from backends.records import Record, Records
from backends.records.memory import MemoryRecords
from tests.sim.faulty import FaultyRecords
from tests.sim.flavours import ANYTHING, DUEL, FADE, HANDOVER, RETURN, Flavour

Mutant = Callable[[pytest.MonkeyPatch], None]


def no_compare_and_swap(patch: pytest.MonkeyPatch) -> None:
    """The store writes whatever it is told to."""

    def check(self: MemoryRecords, key: str, expected: str | None) -> None:
        return

    patch.setattr(MemoryRecords, "_check", check)


def release_forgets_the_epoch(patch: pytest.MonkeyPatch) -> None:
    """Releasing removes the record, as lock files do."""
    patch.setattr(Claims, "release", Claims.retire)


def epoch_stays(patch: pytest.MonkeyPatch) -> None:
    """A new holder gets the epoch of the old one."""
    real = Claims._grant

    def grant(self: Claims, uuid: str, session: str, record: Any, state: Any) -> Claim:
        same = replace(state, epoch=max(0, state.epoch - 1)) if state else None
        return real(self, uuid, session, record, same)

    patch.setattr(Claims, "_grant", grant)


def valid_from_the_reply(patch: pytest.MonkeyPatch) -> None:
    """The holder counts from when it heard that it had renewed."""
    real = Lease._renew

    def renew(self: Lease, session: str) -> None:
        real(self, session)
        self.valid_until = self._clock() + self.terms.trust

    patch.setattr(Lease, "_renew", renew)


def a_late_renewal_is_believed(patch: pytest.MonkeyPatch) -> None:
    """A renewal that the store took is never looked after, however late it was answered."""
    real = FaultyRecords.put_alone

    def put_alone(self: FaultyRecords, key: str, value: bytes, **how: Any) -> Record:
        return real(self, key, value, **{**how, "alone": lambda: True})

    patch.setattr(FaultyRecords, "put_alone", put_alone)


def an_unheard_renewal_counts_from_now(patch: pytest.MonkeyPatch) -> None:
    """A renewal whose reply was lost, found in the store, is believed in as if just sent."""
    real = Lease._still_mine

    def still_mine(self: Lease, session: str) -> str:
        found = real(self, session)
        self.valid_until = self._clock() + self.terms.trust
        return found

    patch.setattr(Lease, "_still_mine", still_mine)


def watched_from_the_question(patch: pytest.MonkeyPatch) -> None:
    """The observer counts from before it asked."""
    asked: dict[object, float] = {}
    real_ask = FaultyRecords._ask

    def ask(self: FaultyRecords, effect: Callable[[], Any], *, writes: bool) -> Any:
        asked[self.network.kernel.current] = self.network.kernel.now
        return real_ask(self, effect, writes=writes)

    def note(self: LeaseWatch, table: Any, node: str, mark: str | None) -> float:
        kernel: Any = self._records.network.kernel  # type: ignore[attr-defined]
        now = self._clock()
        if node not in table or table[node][0] != mark:
            table[node] = (mark, now - (kernel.now - asked[kernel.current]))
        since: float = table[node][1]
        return now - since

    patch.setattr(FaultyRecords, "_ask", ask)
    patch.setattr(LeaseWatch, "_note", note)


def no_allowance_for_drift(patch: pytest.MonkeyPatch) -> None:
    """Holder and observer count the same number of seconds, each on a clock of its own."""
    patch.setattr(Terms, "trust", property(lambda self: self.ttl))


def wall_clocks(patch: pytest.MonkeyPatch) -> None:
    """The lease says until when it is good, and others compare that with their own clocks."""
    expires: dict[str, float] = {}
    real_write, real_check = Lease._write, Claims._check_over

    def wall(lease: Lease) -> float:
        machine: Any = lease._clock.__self__  # type: ignore[attr-defined]
        skew: float = machine.offset % 8
        now: float = lease._clock() - machine.offset + skew
        return now

    def write(self: Lease, session: str, expected: str | None) -> Record:
        expires[self.node] = wall(self) + self.terms.ttl
        return real_write(self, session, expected)

    def check_over(self: Claims, name: str, state: Any) -> None:
        if wall(self._lease) > expires.get(state.node, 0.0):
            end_whatever_is_there(self._records, state.node, None, by="", ttl=1.0)
        else:
            real_check(self, name, state)

    patch.setattr(Lease, "_write", write)
    patch.setattr(Claims, "_check_over", check_over)


def no_waiting(patch: pytest.MonkeyPatch) -> None:
    """A claimant ends the holder's lease as soon as it wants the claim."""
    patch.setattr(LeaseWatch, "standing", lambda self, node, version: 1e9)


def an_old_listing_is_evidence(patch: pytest.MonkeyPatch) -> None:
    """A lease listed as standing still is taken for dead, though it was read anew since."""

    def standing(self: LeaseWatch, node: str, version: str | None) -> float:
        return max(self._note(self._versions, node, version), self._stamp(node)[1])

    patch.setattr(LeaseWatch, "standing", standing)


def the_observers_ttl(patch: pytest.MonkeyPatch) -> None:
    """A claimant waits for its own ttl, though the holder promised another."""
    real = LeaseState.decode

    def decode(record: Record) -> LeaseState:
        return replace(real(record), ttl=6.0)

    patch.setattr(LeaseState, "decode", decode)


def end_whatever_is_there(
    records: Records, node: str, record: Record | None, *, by: str, ttl: float
) -> None:
    """`end` that replaces the present version instead of the one that was watched."""
    present = records.get(f"nodes/{node}")
    ended = LeaseState("", 0, ttl, ended=True, by=by)
    records.put(f"nodes/{node}", ended.encode(), expected=present.version if present else None)


def takeover_without_ending_the_lease(patch: pytest.MonkeyPatch) -> None:
    """A lease that stood still is simply taken for dead: nothing stops its holder's return."""
    patch.setattr(claims, "end", lambda records, node, record, *, by, ttl: None)


def takeover_ends_any_version(patch: pytest.MonkeyPatch) -> None:
    """The lease is ended, also if it was renewed since it was looked at."""
    patch.setattr(claims, "end", end_whatever_is_there)


def an_ended_lease_revives(patch: pytest.MonkeyPatch) -> None:
    """A holder whose lease was ended writes it anew and goes on in the same session."""

    def still_mine(self: Lease, session: str) -> str | None:
        record = self._records.get(self._key)
        return record.version if record else None

    patch.setattr(Lease, "_still_mine", still_mine)


def every_session_of_the_name_is_mine(patch: pytest.MonkeyPatch) -> None:
    """A node name is taken for a machine."""
    patch.setattr(Lease, "_check_free", lambda self, record: None)


def a_clone_may_release(patch: pytest.MonkeyPatch) -> None:
    """What the ledger remembers is released without asking whose lease it is."""
    patch.setattr(Claims, "_let_go", lambda self, claim: self._granted.pop(claim.uuid, None))


def read_is_had(patch: pytest.MonkeyPatch) -> None:
    """A record that reads as ours is believed, though a late release may be under way."""

    def had(self: Claims, uuid: str, session: str, record: Record) -> Claim | None:
        state = claims._State.decode(record)
        if state.held and (state.node, state.session) == (self._lease.node, session):
            return self._believe(uuid, state, record.version)
        return None

    patch.setattr(Claims, "_had", had)


def resume_by_reading(patch: pytest.MonkeyPatch) -> None:
    """A new session takes an old claim for its own without replacing the record."""

    def resume(self: Claims, claim: Claim) -> Claim:
        session = self._lease.hold()
        state, record = self._mine(claim)
        return self._believe(claim.uuid, replace(state, session=session), record.version)

    patch.setattr(Claims, "resume", resume)


def verdict_before_the_claim_was_read(patch: pytest.MonkeyPatch) -> None:
    """The holder is judged dead, and then whatever the claim says by then is replaced."""

    def acquire(self: Claims, uuid: str, *, name: str, force: bool = False) -> Claim:
        session = self._lease.hold()
        record = self._records.get(f"claims/{uuid}")
        if record and (had := self._had(uuid, session, record)):
            return had
        state = claims._State.decode(record) if record else None
        if state and state.held and state.node != self._lease.node and not force:
            self._check_over(name, state)
            record = self._records.get(f"claims/{uuid}")
            state = claims._State.decode(record) if record else None
        try:
            return self._grant(uuid, session, record, state)
        except Conflict:
            raise Unavailable("lost a race") from None

    patch.setattr(Claims, "acquire", acquire)


def never_taken_over(patch: pytest.MonkeyPatch) -> None:
    """The dead keep what they had."""

    def check_over(self: Claims, name: str, state: Any) -> None:
        raise Claimed(f"volume {name} is in use by node {state.node}")

    patch.setattr(Claims, "_check_over", check_over)


def a_released_claim_waits_for_the_lease(patch: pytest.MonkeyPatch) -> None:
    """A clean release is treated like a death."""
    real = Claims._grant

    def grant(self: Claims, uuid: str, session: str, record: Any, state: Any) -> Claim:
        if state and not state.held and state.node != self._lease.node:
            self._check_over(uuid, state)
        return real(self, uuid, session, record, state)

    patch.setattr(Claims, "_grant", grant)


MUTANTS: list[tuple[Mutant, Flavour]] = [
    (no_compare_and_swap, HANDOVER),
    (release_forgets_the_epoch, ANYTHING),
    (epoch_stays, ANYTHING),
    (valid_from_the_reply, FADE),
    (a_late_renewal_is_believed, ANYTHING),
    (an_unheard_renewal_counts_from_now, FADE),
    (watched_from_the_question, FADE),
    (no_allowance_for_drift, FADE),
    (wall_clocks, FADE),
    (no_waiting, DUEL),
    (an_old_listing_is_evidence, RETURN),
    (the_observers_ttl, DUEL),
    (takeover_without_ending_the_lease, RETURN),
    (takeover_ends_any_version, RETURN),
    (an_ended_lease_revives, RETURN),
    (every_session_of_the_name_is_mine, ANYTHING),
    (a_clone_may_release, ANYTHING),
    (read_is_had, HANDOVER),
    (resume_by_reading, RETURN),
    (verdict_before_the_claim_was_read, RETURN),
    (never_taken_over, DUEL),
    (a_released_claim_waits_for_the_lease, HANDOVER),
]
"""Each with the kind of run that finds it soonest."""
