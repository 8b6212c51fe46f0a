"""What is attached on this node: the ledger's word, the backend's deed, the kernel's proof.

Every step is written into the ledger, an intent before it is acted on and an outcome after. Call
`attach`, `release` and `let_go` with the volume's lock held.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.base import Attachment, Backend, Occupant, Usage, Volume
from backends.claims import Claim
from backends.errors import HostError, InUse, KedgeError, Unavailable
from backends.names import volume_name
from driver.ledger import Ledger, Promise
from driver.lifecycle import INTENTS, Entry, Event, State
from driver.ownership import Ownership

log = logging.getLogger(__name__)

LET_GO = frozenset({State.ATTACHING, State.ATTACHED, State.DETACHING, State.FENCED})
"""States from which a volume comes to rest by being released."""

JUST_MOUNTED = 5.0
"""Seconds in which a holder counts as real although no process has the volume mounted yet: the
engine is between the answer to Mount and the start of the container."""


class Attachments:
    """Thread-safe as far as callers hold the volume's lock."""

    def __init__(
        self,
        backends: Mapping[str, Backend[Any, Any]],
        owners: Mapping[str, Ownership],
        ledger: Ledger,
        mounts: Path,
        clock: Callable[[], float],
    ) -> None:
        self.usage: dict[str, Usage] = {}
        self.mounted_at: dict[str, float] = {}
        """When each volume was last asked for, on `clock`."""
        self.left_at: dict[str, float] = {}
        """When an Unmount last left nothing but references of its own ID."""
        self._backends = backends
        self._owners = owners
        self._ledger = ledger
        self._mounts = mounts
        self._clock = clock

    def target(self, name: str) -> Path:
        """Where the volume appears when it is mounted."""
        return self._mounts / volume_name(name)

    def backend(self, promise: Promise) -> Backend[Any, Any]:
        """The backend of a volume in the ledger. Unavailable when its profile is gone."""
        try:
            return self._backends[promise.profile]
        except KeyError:
            raise Unavailable(
                f"volume {promise.name} belongs to profile {promise.profile}, which is not in the "
                "settings; bring the profile back"
            ) from None

    def of(self, promise: Promise) -> Attachment:
        """The promise as the backend knows it."""
        return Attachment(
            name=promise.name,
            uuid=promise.uuid,
            target=self.target(promise.name),
            device=promise.device,
            root=promise.root,
        )

    def shown(self, promise: Promise) -> Attachment | None:
        """The kernel's view: a healthy mount of exactly this volume at its target, or None."""
        top = self.top(promise)
        return top if shows(promise, top) else None

    def top(self, promise: Promise) -> Attachment | None:
        """Whatever is mounted at the volume's target; of several on one another the last, which
        is where a path leads to."""
        target, top = self.target(promise.name), None
        for attachment in self.backend(promise).attachments():
            if attachment.target == target:
                top = attachment
        return top

    def occupants(self, promise: Promise) -> Sequence[Occupant]:
        """Who has the volume mounted outside this service, says the kernel."""
        return self.backend(promise).occupants([self.of(promise)]).get(promise.name, ())

    def owner(self, promise: Promise) -> Ownership:
        """Who keeps the claims of the volume's profile."""
        self.backend(promise)
        return self._owners[promise.profile]

    def record(self, promise: Promise, event: Event, **changes: Any) -> Promise:
        """Write the step that `event` makes, and return the new row. An intent that cannot be
        written raises; an outcome is a fact, and is written as soon as the disk lets us."""

        def step(current: Promise | None) -> Promise:
            base = current if current and current.uuid == promise.uuid else promise
            return replace(base, entry=base.entry.step(event), **changes)

        write = self._ledger.change if event in INTENTS else self._ledger.note
        return write(promise.name, step)

    def attach(self, volume: Volume[Any], promise: Promise, seconds: float = 0.0) -> Promise:
        """Claim, attach and prove; another node may take up to `seconds` to hand the volume over.
        When it raises, nothing is mounted, or the intent stays in the ledger and the keeper takes
        it from there; so it does for a volume that was held, because its holders may still have
        the files."""
        written = promise.claim is not None and bool(self.occupants(promise))
        promise = self.record(promise, Event.ATTACH)
        try:
            claim = self._claim(volume, promise, seconds, written=written)
        except KedgeError:
            if not written:  # else the row stays, for the guard to stop whoever writes
                self._failed(promise)
            raise
        try:
            target = self.target(volume.name)
            attachment = self.backend(promise).attach(volume, target, claim=claim)
        except KedgeError:
            self._give_back(promise, claim)
            raise
        shown = self._proven(promise, attachment, claim)
        facts = {"device": shown.device, "root": shown.root, "claim": claim}
        return self.record(promise, Event.ATTACHED, **facts)

    def _claim(
        self, volume: Volume[Any], promise: Promise, seconds: float, *, written: bool
    ) -> Claim | None:
        """The claim, if one is needed, in the ledger before anything is done under it. `written`:
        processes have the volume under the row's claim, and may go on under no other."""
        owner = self.owner(promise)
        if not owner.needed(volume):
            return None
        if written and promise.claim is not None:
            claim = owner.keep(volume, promise.claim)
        else:
            claim = owner.acquire(volume, seconds)
        self._ledger.change(promise.name, lambda row: replace(row or promise, claim=claim))
        return claim

    def _proven(self, promise: Promise, attachment: Attachment, claim: Claim | None) -> Attachment:
        try:
            if shown := self.shown(promise):
                return shown
        except KedgeError:
            self._undo(promise, attachment, claim)
            raise
        self._undo(promise, attachment, claim)
        raise HostError(
            f"volume {promise.name} was attached but is not mounted at {attachment.target}; "
            "run `kedge doctor`"
        )

    def _undo(self, promise: Promise, attachment: Attachment, claim: Claim | None) -> None:
        try:
            self.backend(promise).detach(attachment)
        except KedgeError as error:
            log.warning("volume %s is not detached yet: %s", promise.name, error)
            return  # the intent stays: something may be mounted
        self._give_back(promise, claim)

    def _give_back(self, promise: Promise, claim: Claim | None) -> None:
        """After an attach that failed: nothing is mounted by it. A volume that was held before
        keeps its claim, because its holders may still write."""
        current = self._ledger.get(promise.name)
        held = bool(current and current.entry.holders) or bool(self.occupants(promise))
        if claim is not None and not held:
            try:
                self.owner(promise).release(claim)
            except KedgeError as error:
                log.warning("volume %s is not handed back yet: %s", promise.name, error)
                return  # the intent stays, and the claim with it
        self._failed(promise)

    def _failed(self, promise: Promise) -> None:
        current = self._ledger.get(promise.name)
        if current is None or not current.entry.holders:
            self.record(promise, Event.FAILED)

    def release(self, promise: Promise) -> None:
        """Detach what no mount ID holds. InUse, naming them, while processes have it mounted;
        what the backend raises when it refuses: then the intent stays for the next try."""
        self._must_be_free(promise)
        self._detach(promise)

    def let_go(self, name: str) -> None:
        """Bring the volume to rest so that it can be removed. InUse while a process has it
        mounted, or when it was mounted a moment ago; references that Docker forgot to drop do
        not count."""
        promise = self._ledger.get(name)
        if promise is None or promise.entry.state not in LET_GO:
            return
        self._must_be_free(promise)
        fenced = promise.entry.state is State.FENCED  # who mounted it was stopped on purpose
        if promise.entry.holders and not fenced and self.just_mounted(name):
            raise InUse(f"volume {name} was mounted a moment ago; stop its container first")
        self._detach(self.abandon(promise))

    def just_mounted(self, name: str) -> bool:
        """Whether a container may be on its way that has no process yet."""
        return self._clock() - self.mounted_at.get(name, float("-inf")) < JUST_MOUNTED

    def abandon(self, promise: Promise) -> Promise:
        """Drop all references: the kernel has shown that nobody is behind them."""

        rest = promise.holding(Entry(State.DETACHED))
        return self._ledger.amend(promise, lambda row: row.holding(row.entry.abandon())) or rest

    def _must_be_free(self, promise: Promise) -> None:
        if users := self.occupants(promise):
            raise InUse(f"volume {promise.name} is in use by {describe(users)}; stop them first")

    def _detach(self, promise: Promise) -> None:
        promise = self.record(promise, Event.DETACH)
        self.backend(promise).detach(self.of(promise))
        if promise.claim is not None:
            self.owner(promise).release(promise.claim)
        self.record(promise, Event.DETACHED)
        self.usage.pop(promise.name, None)
        self.mounted_at.pop(promise.name, None)
        self.left_at.pop(promise.name, None)


def shows(promise: Promise, attachment: Attachment | None) -> bool:
    """Whether `attachment` is a healthy mount of the promised volume."""
    return attachment is not None and attachment.healthy and attachment.uuid == promise.uuid


def describe(users: Sequence[Occupant]) -> str:
    """`container 3f2a91c07d5e (mysqld, pid 812)`, at most three of them."""
    words = [
        f"container {user.container[:12]} ({user.command}, pid {user.pid})"
        if user.container
        else f"{user.command} (pid {user.pid})"
        for user in users[:3]
    ]
    more = len(users) - len(words)
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")
