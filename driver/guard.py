"""The guard: keeps this node's lease alive, and stops this node when it cannot.

Two threads per profile that other nodes see. One *renews*: the lease, the watch over other nodes'
leases, the claims that an earlier run held, and a look whether any was taken by force; it may hang
as long as the storage does. The other is the *alarm*: it asks nobody, reads only the clock, and
cuts this node off from every volume it writes before the lease that covers them can end.

    lease fresh                    nothing to do
    lease about to end             cut off (backends that fence by the node); state FENCED
    lease ended, claim passed on   cut off where that is possible; state FENCED

A fenced volume comes to rest when its processes are gone, and is mounted anew like any other.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from backends.base import Backend, SelfFencing
from backends.errors import Busy, Damaged, Fenced, KedgeError
from driver.complaints import Complaints
from driver.ledger import Promise
from driver.lifecycle import Event, State
from driver.ownership import Ownership
from driver.rounds import Rounds
from driver.volumes import Volumes

log = logging.getLogger(__name__)

FENCEABLE = frozenset({State.ATTACHING, State.ATTACHED})
"""States that a lost claim turns into FENCED."""

GUARDED = FENCEABLE | {State.DETACHING}
"""States in which something of this node may write."""

ADOPTED = frozenset({State.ATTACHED, State.DETACHING})
"""States in which a row without a claim is not one that is about to get it."""

ALARM = 0.1
"""Seconds between two looks at the clock; the lease's margin must be larger."""

LOCK_SECONDS = 0.2


class Guard:
    """Of one profile. Each round can be called by itself, without any thread."""

    def __init__(self, volumes: Volumes, profile: str) -> None:
        self._volumes = volumes
        self._profile = profile
        self._backend: Backend[Any, Any] = volumes.backends[profile]
        self._owner: Ownership = volumes.owners[profile]
        self._complaints = Complaints(log)
        self.armed = threading.Event()
        """Set once an earlier run's claims were looked at; until then its lease counts."""

    def renew(self) -> None:
        """One round of renewal. Raises what the storage raises."""
        due = True
        try:
            due = self._owner.renew(claimed=bool(self._claimed()))
        except Fenced as lost:
            log.error("%s", lost)
        self._owner.look()
        for promise in self._claimed():
            self._one(promise, self._resume)
        for promise in self._unclaimed():
            self._one(promise, self._regain)
        self.armed.set()
        if not due:
            return
        current = [promise.claim for promise in self._claimed() if promise.claim]
        for uuid, reason in self._owner.lost(current).items():
            self._lost(uuid, reason)

    def alarm(self) -> None:
        """One look at the clock."""
        if self._owner.lease.remaining() > 0 or not isinstance(self._backend, SelfFencing):
            return
        for promise in self._claimed():
            self._fence(promise, "this node could not renew its lease in time")

    def _claimed(self) -> Sequence[Promise]:
        return [
            promise
            for promise in self._volumes.ledger.promises().values()
            if promise.profile == self._profile
            and promise.claim is not None
            and promise.entry.state in GUARDED
        ]

    def _one(self, promise: Promise, act: Callable[[Promise], None]) -> None:
        """A claim that cannot be read does not hold up those of other volumes."""
        subject = f"volume {promise.name}"
        try:
            act(promise)
        except Damaged as error:
            self._complaints.trouble(subject, error)
            return
        self._complaints.well(subject)

    def _resume(self, promise: Promise) -> None:
        """Take a claim of an earlier run of this service into the present session."""
        claim = promise.claim
        if claim is None or claim.session == self._owner.lease.session:
            return
        try:
            resumed = self._owner.resume(claim.uuid, claim.epoch, claim.session)
        except Fenced as lost:
            if not self._owner.holds(claim.uuid, claim.epoch):
                self._fence(promise, str(lost))
            return  # else it was the lease that was lost on the way: the next round resumes

        self._volumes.ledger.amend(promise, lambda row: replace(row, claim=resumed))

    def _unclaimed(self) -> Sequence[Promise]:
        """What was found mounted when the ledger was lost: its claim stands in the storage only,
        and without it another node would take the volume from under its processes."""
        rows = [
            promise
            for promise in self._volumes.ledger.promises().values()
            if promise.profile == self._profile
            and promise.claim is None
            and promise.entry.state in ADOPTED
        ]
        known = [self._volumes.inventory.find(promise.name) for promise in rows]
        return [
            promise
            for promise, one in zip(rows, known, strict=True)
            if one and one.volume.uuid == promise.uuid and self._owner.needed(one.volume)
        ]

    def _regain(self, promise: Promise) -> None:
        try:
            regained = self._owner.regain(promise.uuid)
        except Fenced as lost:
            self._fence(promise, str(lost))
            return

        def step(row: Promise) -> Promise:
            return row if row.claim else replace(row, claim=regained)

        self._volumes.ledger.amend(promise, step)

    def _lost(self, uuid: str, reason: Fenced) -> None:
        for promise in self._claimed():
            if promise.uuid == uuid:
                self._fence(promise, str(reason))

    def _fence(self, promise: Promise, reason: str) -> None:
        """Cut off first, without waiting for any lock; then write it down. A row that has another
        claim by now is not meant."""
        current = self._volumes.ledger.get(promise.name)
        if current is None or current.claim != promise.claim:
            return
        if isinstance(self._backend, SelfFencing):
            try:
                self._backend.cut_off(self._volumes.attachments.of(promise))
            except KedgeError as error:
                self._complaints.trouble(f"volume {promise.name} cannot be cut off", error)
                return
        try:
            with self._volumes.locks.hold(promise.name, "fencing", LOCK_SECONDS):
                current = self._volumes.ledger.get(promise.name)
                if current and current.claim == promise.claim and current.entry.state in FENCEABLE:
                    self._volumes.attachments.record(current, Event.FENCE)
                    log.error("volume %s is fenced: %s", promise.name, reason)
        except Busy:
            return  # the next round finds it


class Guards:
    """The threads of all profiles. Starts with `start`, ends with `stop`; both once."""

    def __init__(self, volumes: Volumes, clock: Callable[[], float]) -> None:
        self._volumes = volumes
        self._clock = clock
        self._rounds = Rounds()

    def start(self) -> None:
        """Guard every profile that other nodes see."""
        for profile, owner in self._volumes.owners.items():
            if owner.matters:
                guard = Guard(self._volumes, profile)
                self._rounds.keep(f"renewing {profile}", guard.renew, owner.lease.terms.renew / 2)
                self._rounds.keep(f"alarm of {profile}", self._armed(guard, owner), ALARM)

    def stop(self) -> None:
        """End the threads."""
        self._rounds.stop()

    def _armed(self, guard: Guard, owner: Ownership) -> Callable[[], None]:
        """Until the first renewal has looked at an earlier run's claims, and for no longer than
        its lease can have lasted, the alarm is not due."""
        begun = self._clock()

        def look() -> None:
            if guard.armed.is_set() or self._clock() - begun > owner.lease.terms.trust:
                guard.alarm()

        return look
