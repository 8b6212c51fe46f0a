"""The keeper: the only threads that act without being asked, two per profile and one for all.

One *tends* what is attached: it recovers at start, mounts again what was lost, and lets go of what
nobody has any more. The other *watches* the storage: which volumes exist, how full they are; it
may hang as long as the storage does, and only its news grow old. The one for all takes the
snapshots that are due (`schedule`). Each round can be called by itself, without any thread.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from backends.base import Attachment
from backends.errors import KedgeError
from backends.upkeep import Tidies
from driver.attachments import LET_GO, shows
from driver.complaints import Complaints
from driver.idleness import Idleness, Patience
from driver.ledger import Promise
from driver.recovery import MENDED, Recovery
from driver.rounds import Rounds
from driver.schedule import Scheduler
from driver.volumes import Volumes

log = logging.getLogger(__name__)


QUIET = 60.0
"""Seconds after which nobody is taken to be looking ..."""
QUIET_ROUNDS = 6
"""... and one in so many rounds asks who has which volume, one in twice as many which volumes there
are, where every question costs."""


@dataclass(frozen=True)
class Pace:
    """How often and how patiently, in seconds."""

    tend: float = 2.0
    schedule: float = 60.0
    """How much later than its hour a snapshot may be taken."""
    watch: float = 10.0
    """Until a volume made or removed by another node shows in `docker volume ls`; up to twelve
    times as long, once, where every question costs and nobody has asked for a minute."""
    each: float = 10.0
    """How long one volume may hold up the tending of the next."""
    first_try: float = 20.0
    """How long the first recovery may hold back Docker's questions."""
    patience: Patience = Patience()


class Tender:
    """Tends what is attached, and what was begun and not finished, of one profile."""

    def __init__(
        self, volumes: Volumes, profile: str, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self._volumes = volumes
        self._clock = clock
        self._complaints = Complaints(log)
        self._recovery = Recovery(volumes, profile, self._complaints, pace.each)
        self._recovered = False
        self._idleness = Idleness(pace.patience)
        self._backend = volumes.backends[profile]

    def round(self) -> None:
        """One round. Raises what the backend raises when asked about everything at once."""
        if not self._recovered:
            self._recovery.run()
            self._recovered = True
        self._volumes.ledger.catch_up()
        rows = self._recovery.rows()
        shown = self._recovery.shown()
        attached = [promise for promise in rows if promise.entry.state in LET_GO]
        occupied = self._backend.occupants([self._volumes.attachments.of(p) for p in attached])
        for promise in attached:
            seen = bool(occupied.get(promise.name))
            self._tend(promise, shown.get(promise.name), seen=seen)
        for promise in rows:
            if promise.entry.state not in LET_GO:
                self._recovery.reconcile(promise, None)
        self._idleness.keep({promise.uuid for promise in attached})
        self._recovery.adopt(shown)

    def _tend(self, promise: Promise, shown: Attachment | None, *, seen: bool) -> None:
        asked = self._volumes.attachments.mounted_at.get(promise.name, float("-inf"))
        left_at = self._volumes.attachments.left_at.get(promise.name)
        left = left_at is not None and left_at >= asked
        idle = self._idleness.observe(promise, seen=seen, asked=asked, left=left, now=self._clock())
        lost = promise.entry.state in MENDED and not shows(promise, shown)
        wanted = seen or promise.entry.holders
        if idle or (lost and not wanted):
            self._recovery.tend(promise, "releasing", lambda: self._let_go(promise))
        elif lost:
            self._recovery.tend(promise, "mounting again", lambda: self._mount_again(promise))

    def _let_go(self, promise: Promise) -> None:
        if count := sum(promise.entry.holders.values()):
            log.warning("volume %s: %d reference(s) without any process", promise.name, count)
        self._volumes.attachments.let_go(promise.name)

    def _mount_again(self, promise: Promise) -> None:
        if not self._volumes.attachments.shown(promise):
            self._recovery.mount_again(promise)
            log.error("volume %s had lost its mount and is mounted again", promise.name)


class Watcher:
    """Watches the storage of one profile."""

    def __init__(self, volumes: Volumes, profile: str) -> None:
        self._volumes = volumes
        self._profile = profile
        self._backend = volumes.backends[profile]
        self._rounds = 0

    def round(self) -> None:
        """One round. Raises what the backend raises."""
        try:
            self._ask()
        finally:
            troubles = self._measure()  # above all while the storage is away
        if isinstance(self._backend, Tidies):
            self._backend.tidy()
        if troubles:
            raise troubles[0]

    def _ask(self) -> None:
        """Ask the storage for what others have made, removed and taken."""
        metered = self._backend.capabilities.metered
        quiet = metered and self._volumes.unasked > QUIET
        if not (quiet and self._rounds % (2 * QUIET_ROUNDS)):
            self._volumes.inventory.refresh(self._profile)
        if not (quiet and self._rounds % QUIET_ROUNDS):
            self._who_has_what()
        self._rounds += 1

    def _measure(self) -> list[KedgeError]:
        """A volume that cannot be measured keeps no other from being; what was raised."""
        troubles: list[KedgeError] = []
        for attachment in self._backend.attachments():
            promise = self._volumes.ledger.get(attachment.name)
            if promise and shows(promise, attachment):
                try:
                    usage = self._backend.usage(attachment)
                    self._volumes.attachments.usage[attachment.name] = usage
                except KedgeError as error:
                    troubles.append(error)
        return troubles

    def _who_has_what(self) -> None:
        known = [k.volume for k in self._volumes.inventory.all() if k.profile == self._profile]
        self._volumes.owners[self._profile].refresh(known)


class Keeper:
    """Starts with `start`, ends with `stop`; both once."""

    def __init__(self, volumes: Volumes, pace: Pace, clock: Callable[[], float]) -> None:
        self._volumes = volumes
        self._pace = pace
        self._clock = clock
        self._rounds = Rounds()
        self._tried: dict[str, threading.Event] = {}

    def start(self) -> None:
        """Recover every profile; Docker is answered once each has been tried."""
        for profile in self._volumes.backends:
            tender = Tender(self._volumes, profile, self._pace, self._clock)
            watcher = Watcher(self._volumes, profile)
            for what, one_round, every in (
                (f"tending {profile}", tender.round, self._pace.tend),
                (f"watching {profile}", watcher.round, self._pace.watch),
            ):
                self._tried[what] = self._rounds.keep(what, one_round, every)
        scheduler = Scheduler(self._volumes)
        self._rounds.keep("taking snapshots", scheduler.round, self._pace.schedule)
        threading.Thread(target=self._open, name="opening", daemon=True).start()

    def stop(self) -> None:
        """End the threads; what they were doing is finished by the next start."""
        self._rounds.stop()

    def _open(self) -> None:
        end = self._clock() + self._pace.first_try
        for what, tried in self._tried.items():
            if not tried.wait(max(0.0, end - self._clock())):
                log.error("%s takes long; its volumes are not all known yet", what)
        self._volumes.ready.set()
