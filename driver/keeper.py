"""The keeper: the only threads that act without being asked, one per profile.

It recovers at start, keeps the inventory fresh, mounts again what was lost, and lets go of what
nobody has any more. Docker forgets references: after a crash it mounts again under the same ID, a
failed Unmount is never repeated, a timed-out Mount is never undone. So a volume whose references
are not matched by any process for long enough is released.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from backends.base import Attachment
from backends.errors import Busy, KedgeError
from driver.ledger import Promise
from driver.lifecycle import State
from driver.recovery import recover
from driver.volumes import LET_GO, Volumes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often and how patiently, in seconds."""

    tick: float = 2.0
    refresh: float = 10.0
    """Until a volume made or removed by another node shows in `docker volume ls`."""
    unheld: float = 5.0
    """Patience with a volume that no mount ID holds."""
    vanished: float = 30.0
    """Patience after the last process with the volume mounted is gone, references or not."""
    unseen: float = 300.0
    """Patience with a holder whose process never showed: an engine may copy an image's files into
    a new volume for minutes before any container starts."""
    first_try: float = 20.0
    """How long the first recovery may hold back Docker's questions."""


class Keeper:
    """Starts with `start`, ends with `stop`; both once."""

    def __init__(self, volumes: Volumes, pace: Pace, clock: Callable[[], float]) -> None:
        self._volumes = volumes
        self._pace = pace
        self._clock = clock
        self._stop = threading.Event()
        self._tried: dict[str, threading.Event] = {p: threading.Event() for p in volumes.backends}
        self._idle = {profile: _Idle(pace) for profile in volumes.backends}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Recover every profile; Docker is answered once each has been tried."""
        for profile in self._volumes.backends:
            self._thread(f"keeper of {profile}", partial(self._keep, profile))
        self._thread("opening", self._open)

    def stop(self) -> None:
        """End the threads; what they were doing is finished by the next start."""
        self._stop.set()

    def _thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _open(self) -> None:
        end = self._clock() + self._pace.first_try
        for profile, tried in self._tried.items():
            if not tried.wait(max(0.0, end - self._clock())):
                log.error("profile %s does not answer yet; its volumes are unavailable", profile)
        self._volumes.ready.set()

    def _keep(self, profile: str) -> None:
        recovered = False
        refreshed = float("-inf")
        trouble = ""
        while not self._stop.is_set():
            try:
                if not recovered:
                    recover(self._volumes, profile)
                    recovered = True
                if self._clock() - refreshed >= self._pace.refresh:
                    self._volumes.inventory.refresh(profile)
                    refreshed = self._clock()
                self._tend(profile)
                if trouble:
                    log.info("profile %s is well again", profile)
                trouble = ""
            except KedgeError as error:
                if str(error) != trouble:  # once, not at every tick of a long outage
                    log.error("profile %s: %s", profile, error)
                trouble = str(error)
            except Exception:
                log.exception("profile %s: the keeper stumbled and goes on", profile)
            self._tried[profile].set()
            self._stop.wait(self._pace.tick)

    def _tend(self, profile: str) -> None:
        promises = [
            promise
            for promise in self._volumes.ledger.promises().values()
            if promise.profile == profile and promise.entry.state in LET_GO
        ]
        if not promises:
            return
        backend = self._volumes.backends[profile]
        shown = {attachment.name: attachment for attachment in backend.attachments()}
        occupied = backend.occupants([self._volumes.attachment(p) for p in promises])
        for promise in promises:
            seen = bool(occupied.get(promise.name))
            asked = self._volumes.mounted_at.get(promise.name, float("-inf"))
            idle = self._idle[profile].observe(promise, seen, asked, self._clock())
            try:
                self._attend(promise, shown, seen=seen, idle=idle)
            except Busy:
                continue  # a request is at work on it

    def _attend(
        self, promise: Promise, shown: Mapping[str, Attachment], *, seen: bool, idle: bool
    ) -> None:
        mount = shown.get(promise.name)
        lost = mount is None or mount.uuid != promise.uuid or not mount.healthy
        if idle:
            self._let_go(promise)
        elif (
            lost and promise.entry.state is not State.DETACHING and (promise.entry.holders or seen)
        ):
            self._mount_again(promise)
        elif mount is not None and mount.healthy:
            usage = self._volumes.backends[promise.profile].usage(mount)
            self._volumes.usage[promise.name] = usage

    def _let_go(self, promise: Promise) -> None:
        with self._volumes.locks.hold(promise.name, "releasing", 0.1):
            if self._volumes.ledger.get(promise.name) != promise:
                return
            if count := sum(promise.entry.holders.values()):
                log.warning(
                    "volume %s: %d reference(s) without any process; dropped", promise.name, count
                )
            self._volumes.release(self._volumes.write(promise.holding(promise.entry.abandon())))

    def _mount_again(self, promise: Promise) -> None:
        with self._volumes.locks.hold(promise.name, "mounting again", 0.1):
            if self._volumes.ledger.get(promise.name) != promise or self._volumes.shown(promise):
                return
            log.error("volume %s lost its mount behind our back; mounting it again", promise.name)
            volume = self._volumes.backends[promise.profile].get(promise.name)
            self._volumes.attach(volume, promise)


class _Idle:
    """Since when has nobody had each volume mounted, and is that long enough?"""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def observe(self, promise: Promise, seen: bool, asked: float, now: float) -> bool:
        """One look at one volume, last asked for at `asked`; True when to let it go."""
        key = (promise.name, promise.uuid)
        if seen:
            self._seen[key] = now
            self._since.pop(key, None)
            return False
        since = max(self._since.setdefault(key, now), asked)
        if now - since < self._patience(promise, came=self._seen.get(key, asked - 1) >= asked):
            return False
        self._since.pop(key, None)
        self._seen.pop(key, None)
        return True

    def _patience(self, promise: Promise, came: bool) -> float:
        """`came`: a process showed after the last Mount."""
        if promise.entry.state is State.DETACHING:
            return 0.0
        if not promise.entry.holders:
            return self._pace.unheld
        return self._pace.vanished if came else self._pace.unseen
