"""Which volumes of one profile this node may write: its lease, its claims, who else has which.

Only volumes that other nodes can see and that one node at a time may write need a claim. Taking
one is part of Mount, giving it back the last step of letting go: after the storage is detached,
so nothing of this node can write any more when the next node takes it.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from backends.base import Access, Backend, Fences, OnRemove, Volume
from backends.claims import Claim, Claims, Holder
from backends.errors import Claimed, Damaged, Fenced, KedgeError, Unavailable
from backends.leases import Lease, LeaseWatch, Terms

log = logging.getLogger(__name__)

CHECK = 10.0
"""Seconds between two looks whether claims were taken by force, where every look costs and the
storage refuses what a stale node writes: at those that were listed since and have changed ..."""

LISTED = 75.0
"""... and seconds after which they are listed for that, if nobody else has done it."""

GLANCES = 12
"""Up to so many leases it is cheaper to read each than to list all."""

POLL = 0.25
"""Seconds between two looks at a claim that another node is about to release."""

RESERVE = 3.0
"""Seconds of a call that are kept for attaching once the claim is had."""


class Ownership:
    """Thread-safe between volumes; calls for one volume are made under its lock."""

    def __init__(
        self,
        backend: Backend[Any, Any],
        *,
        node: str,
        terms: Terms,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        now: Callable[[], str],
        new_session: Callable[[], str],
        own: Collection[str] = (),
        remember: Callable[[str], None] = lambda session: None,
    ) -> None:
        """`clock` counts the time a machine is suspended (CLOCK_BOOTTIME). `own` and `remember`:
        sessions of this node since it booted, see Lease."""
        self._backend = backend
        self._clock = clock
        self._sleep = sleep
        self.watch = LeaseWatch(backend.records, clock)
        self.lease = Lease(
            backend.records,
            node,
            self.watch,
            clock=clock,
            new_session=new_session,
            terms=terms,
            own=own,
            remember=remember,
        )
        self.claims = Claims(backend.records, self.lease, now)
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._stamps: tuple[float, Mapping[str, str]] = (float("-inf"), {})
        """When all claims were listed last, and what that showed."""
        self._holders: dict[str, tuple[str, Holder]] = {}

    @property
    def matters(self) -> bool:
        """Other nodes see this profile's volumes."""
        return self._backend.capabilities.everywhere

    def needed(self, volume: Volume[Any]) -> bool:
        """Whether a claim stands between this volume and a second writer."""
        return self.matters and volume.options.access is Access.SINGLE

    def acquire(self, volume: Volume[Any], seconds: float) -> Claim:
        """The claim, waiting for a planned hand-over as long as `seconds` allow. Whoever may
        still write from before is fenced in the storage when this returns, where the storage can.
        Claimed, naming the node, when it is not given up in time."""
        end = self._clock() + seconds - RESERVE
        while True:
            try:
                claim = self.claims.acquire(volume.uuid, name=volume.name)
                break
            except Fenced:
                raise
            except (Claimed, Unavailable):
                if self._clock() + POLL > end:
                    raise
            self._sleep(POLL)
        return self._settled(volume, claim)

    def keep(self, volume: Volume[Any], claim: Claim) -> Claim:
        """The claim under which processes of this node have written until now, for mounting their
        volume again. Fenced when it has passed to another meanwhile, even if it is free again:
        what they have in memory is from before the other's turn."""
        return self._settle(volume, self.claims.resume(claim))

    def holds(self, uuid: str, epoch: int) -> bool:
        """Whether the storage says, now, that this node has the claim under this epoch."""
        holder = self.claims.holder(uuid)
        return holder is not None and (holder.held, holder.node, holder.epoch) == (
            True,
            self.lease.node,
            epoch,
        )

    def seize(self, volume: Volume[Any]) -> Claim:
        """The claim, now: somebody vouches that its holder is dead."""
        claim = self.claims.acquire(volume.uuid, name=volume.name, force=True)
        return self._settled(volume, claim)

    def resume(self, uuid: str, epoch: int, session: str) -> Claim:
        """The claim that an earlier run of this service held. Fenced when it passed on."""
        return self.claims.resume(Claim(uuid, self.lease.node, session, epoch))

    def regain(self, uuid: str) -> Claim:
        """The claim that an earlier run held, when only the storage remembers it. Fenced when no
        earlier run of this machine holds it."""
        holder = self.claims.holder(uuid)
        if holder is None or not holder.held or holder.node != self.lease.node:
            raise Fenced(f"the claim of volume {uuid} is not held by this node")
        return self.claims.resume(Claim(uuid, holder.node, "", holder.epoch))

    def must_be_alive(self, claim: Claim | None) -> None:
        """Unavailable unless the lease behind the claim is fresh: a second container must not
        join a volume that is about to be cut off."""
        if claim is not None and self.lease.remaining() <= 0:
            raise Unavailable(
                f"node {self.lease.node} cannot renew its lease: the storage does not answer"
            )

    @contextmanager
    def borrowed(self, volume: Volume[Any], seconds: float) -> Iterator[Claim | None]:
        """Have the claim for the block, and give it back: for work on a volume that nobody has
        attached. None where none is needed. Claimed, naming the node, when another has it."""
        if not self.needed(volume):
            yield None
            return
        claim = self.acquire(volume, seconds)
        try:
            yield claim
        except BaseException:
            with suppress(KedgeError):
                self.release(claim)
            raise
        self.release(claim)

    @contextmanager
    def removing(self, volume: Volume[Any]) -> Iterator[None]:
        """Keep every other node from the volume while it is removed; the claim goes with the
        data. Claimed, naming the node, when another has it."""
        if not self.needed(volume):
            yield
            return
        claim = self.claims.acquire(volume.uuid, name=volume.name)
        try:
            yield
        except BaseException:
            with suppress(KedgeError):
                self.release(claim)
            raise
        if volume.options.on_remove is OnRemove.DELETE:
            self.retire(claim)
        else:
            self.release(claim)  # the volume may come back, and its epochs go on

    def release(self, claim: Claim) -> None:
        """Give the claim up. Lost already: does nothing."""
        try:
            self.claims.release(claim)
        except Fenced as lost:
            log.warning("%s", lost)

    def retire(self, claim: Claim) -> None:
        """Remove the record of a claim whose volume is gone. Lost already: does nothing."""
        try:
            self.claims.retire(claim)
        except Fenced as lost:
            log.warning("%s", lost)

    def look(self) -> None:
        """Watch leases, so that a takeover need not begin to wait when it is asked for: where
        looking costs, those of the nodes that hold a volume."""
        if not self.matters:
            return
        nodes = self._others() if self._backend.capabilities.metered else None
        if nodes is None or len(nodes) > GLANCES:
            self.watch.look()
        else:
            self.watch.glance(nodes)

    def _others(self) -> set[str]:
        with self._lock:
            holders = [holder for _, holder in self._holders.values()]
        return {holder.node for holder in holders if holder.held} - {self.lease.node}

    def renew(self, *, claimed: bool) -> bool:
        """Renew the lease if it is time to, and there is a claim that it covers: in the ledger
        (`claimed`), or one that a call has at the moment. Whether that was so. Fenced when the
        lease was lost."""
        due = self.lease.due() and (claimed or self.claims.any)
        if due:
            self.lease.renew()
        return due

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Fenced]:
        """Which of these claims were taken by force, each with the reason."""
        if not self._backend.capabilities.metered:
            return self.claims.lost(claims)
        if self._clock() - self._checked < CHECK:
            return {}
        self._checked = self._clock()
        if claims and self._clock() - self._stamps[0] > LISTED:
            self._list()
        return self.claims.lost(claims, self._stamps[1])

    def refresh(self, volumes: Sequence[Volume[Any]]) -> None:
        """Learn who holds which of these volumes; only claims that changed are read."""
        if not self.matters:
            return
        stamps = self._list()
        holders: dict[str, tuple[str, Holder]] = {}
        for volume in volumes:
            stamp = stamps.get(f"claims/{volume.uuid}")
            if stamp is None:
                continue
            known = self._holders.get(volume.uuid)
            if known is not None and known[0] == stamp:
                holders[volume.uuid] = known
            elif (holder := self._read(volume)) is not None:
                holders[volume.uuid] = (stamp, holder)
        with self._lock:
            self._holders = holders

    def _list(self) -> Mapping[str, str]:
        began = self._clock()
        stamps = self._backend.records.stamps("claims")
        self._stamps = (began, stamps)
        return stamps

    def learn(self, volume: Volume[Any]) -> None:
        """Learn it of one volume, now."""
        if (holder := self._read(volume)) is not None:
            with self._lock:
                self._holders = {**self._holders, volume.uuid: ("", holder)}

    def _read(self, volume: Volume[Any]) -> Holder | None:
        """One claim that cannot be read does not hide the others."""
        try:
            return self.claims.holder(volume.uuid)
        except Damaged as error:
            log.error("volume %s: %s", volume.name, error)
            return None

    def shown(self, volume: Volume[Any], mine: Claim | None) -> Mapping[str, str]:
        """Owner, epoch and lease age for Status, from memory. `mine`: what this node is sure to
        have, which the last look at all claims may not know yet."""
        with self._lock:
            _, holder = self._holders.get(volume.uuid, ("", None))
        if mine is not None:
            owner, epoch = mine.node, mine.epoch
        elif holder is not None:
            owner, epoch = holder.node if holder.held else "", holder.epoch
        else:
            return {}
        status = {"owner": owner, "epoch": str(epoch)}
        age = self.watch.age(owner)
        if owner and age is not None:
            status["lease_age"] = f"{age:.1f}s"
        return status

    def _settled(self, volume: Volume[Any], claim: Claim) -> Claim:
        """As `_settle`, of a claim that nothing is done under yet: given back if it fails."""
        try:
            return self._settle(volume, claim)
        except KedgeError:
            self.release(claim)
            raise

    def _settle(self, volume: Volume[Any], claim: Claim) -> Claim:
        """Fence who is stale, and say how this holder is to be fenced in its turn."""
        if not isinstance(self._backend, Fences):
            return claim
        if claim.stale:
            self._backend.fence(volume, claim.stale)
        facts = self._backend.fence_facts(volume)
        return self.claims.amend(claim, fence=facts, settled=True)
