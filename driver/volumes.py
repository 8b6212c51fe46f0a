"""Volumes: the one service behind Docker's socket and the operator's.

The order of a mount, each step repeatable after a crash between any two:
lock -> intent in the ledger -> attach -> prove that the path is a mount of this volume ->
outcome in the ledger -> answer.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from backends.base import Backend, Spec, Volume
from backends.errors import (
    Exists,
    InUse,
    Invalid,
    InvalidOptions,
    KedgeError,
    NotFound,
    Unavailable,
)
from backends.names import volume_name
from backends.options import parse, to_strings
from driver import status
from driver.attachments import LET_GO, Attachments
from driver.cloning import Cloning, agrees
from driver.deadline import Call
from driver.inspecting import Inspecting
from driver.inventory import Inventory, Known
from driver.ledger import Ledger, Promise
from driver.lifecycle import Entry, Event, State
from driver.locks import Locks
from driver.ownership import Ownership
from driver.parts import Parts
from driver.passing import Notes
from driver.settings import Settings
from driver.snapshots import Snapshotting

log = logging.getLogger(__name__)
T = TypeVar("T")

REST = Entry(State.DETACHED)

ATTACHABLE = LET_GO - {State.FENCED}
"""States from which a volume is attached (again); one that was fenced comes to rest first."""

LOOKUPS = 64
"""Names looked up in the storage at the same time: storage that hangs must not collect threads."""


class Volumes:
    """Thread-safe; calls for different volumes never wait for each other. Every verb answers
    within `call_seconds` or raises DeadlineExceeded while the work goes on."""

    def __init__(
        self,
        settings: Settings,
        backends: Mapping[str, Backend[Any, Any]],
        ledger: Ledger,
        *,
        owners: Mapping[str, Ownership],
        clock: Callable[[], float],
        now: Callable[[], str],
        new_uuid: Callable[[], uuid.UUID],
        must_see: Callable[[Path, int], None] = lambda target, pid: None,
    ) -> None:
        """`must_see` raises when a process does not see what is mounted at a target."""
        self.settings = settings
        self.backends = backends
        self.ledger = ledger
        self.inventory = Inventory(backends)
        self.owners = owners
        self.attachments = Attachments(backends, owners, ledger, settings.paths.mounts, clock)
        self.locks = Locks(clock)
        self.ready = threading.Event()
        """Set once recovery is done; until then Docker's questions wait."""
        self._parts = Parts(
            settings, backends, owners, ledger, self.inventory, self.attachments, self.locks, now
        )
        self.snapshots = Snapshotting(self._parts)
        self.inspecting = Inspecting(self._parts)
        self.cloning = Cloning(self._parts, self.snapshots, Notes(settings.paths.state / "clones"))
        self._lookups = threading.BoundedSemaphore(LOOKUPS)
        self._clock = clock
        self._now = now
        self._new_uuid = new_uuid
        self._must_see = must_see
        self._asked = clock()

    # -- Docker's verbs -------------------------------------------------------------------

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make a volume. One that exists and agrees with every option given: nothing to do.
        Invalid*, Exists (with what differs), NoSpace, NotSupported, Unavailable; InUse when an
        earlier volume of the name is still mounted here."""
        volume_name(name)
        self.bounded(f"creating volume {name}", lambda call: self._create(name, options, call))

    def clone(self, name: str, source: str) -> None:
        """As `create` with `from=source`; takes as long as the copy does, which is told
        (`backends.progress`)."""
        volume_name(name)
        waiting = Call[None](self.settings.call_seconds, self._clock)
        self._create(name, {"from": source}, waiting)

    def remove(self, name: str) -> None:
        """Remove a volume as its `on_remove` says. NotFound when it certainly is not there;
        InUse, naming who has it, while it is mounted on this node."""
        volume_name(name)
        self.bounded(f"removing volume {name}", lambda call: self._remove(name, call))

    def mount(self, name: str, mount_id: str, *, caller: int = 0) -> Path:
        """Where the volume's files are, now, on this node, as the process `caller` sees it too
        (0: not known). Counts one more reference of `mount_id`, unless the caller was told that
        its time is over."""
        volume_name(name)
        what = f"mounting volume {name}"
        return self.bounded(what, lambda call: self._mount(name, mount_id, caller, call))

    def unmount(self, name: str, mount_id: str) -> None:
        """Drop one reference of `mount_id`; an unknown ID or volume is no error. The reference is
        gone when this returns, whatever hangs or refuses: Docker never repeats an Unmount. What
        is left to do then is done by the keeper."""
        self._drop(volume_name(name), mount_id)
        try:
            self.bounded(f"unmounting volume {name}", lambda call: self._rest(name, mount_id, call))
        except InUse as error:
            log.info("volume %s stays attached: %s", name, error)
        except KedgeError as error:
            log.warning("volume %s is not detached yet: %s", name, error)

    def get(self, name: str) -> status.View:
        """From memory; a name not in memory is looked up. NotFound only when certain."""
        volume_name(name)
        known = self.inventory.find(name) if self.ready.is_set() else None
        if known is None:
            known = self.bounded(f"looking for volume {name}", lambda call: self._find(name, call))
        return self.view(known)

    def list(self) -> Sequence[status.View]:
        """Every volume of every profile, from memory."""
        if not self.ready.wait(self.settings.call_seconds):
            raise Unavailable("kedge is starting; try again")
        self._asked = self._clock()
        return [self.view(known) for known in self.inventory.all()]

    @property
    def everywhere(self) -> bool:
        """Some profile's volumes are seen by other nodes too (Docker's scope `global`)."""
        return any(backend.capabilities.everywhere for backend in self.backends.values())

    def takeover(self, name: str) -> status.View:
        """Free a volume from a node that is dead, on the operator's word: whoever mounts it next
        gets it at once, and the old node is fenced as far as the backend can. NotFound; Invalid
        when this node itself has it."""
        volume_name(name)
        known = self.bounded(f"taking volume {name}", lambda call: self._take(name, call))
        return self.view(known)

    # -- shared with the keeper and the operator's side ------------------------------------

    @property
    def unasked(self) -> float:
        """Seconds since anybody asked for anything."""
        return self._clock() - self._asked

    def view(self, known: Known) -> status.View:
        """The volume as people see it."""
        self._asked = self._clock()
        name = known.volume.name
        return status.view(
            known,
            self.backends[known.profile],
            self.owners[known.profile],
            self.ledger.get(name),
            self.attachments.usage.get(name),
            self.snapshots.newest.get(known.volume.uuid),
            node=self.settings.node,
            mountpoint=str(self.attachments.target(name)),
        )

    def bounded(
        self, what: str, work: Callable[[Call[T]], T], *, seconds: float | None = None
    ) -> T:
        """What `work` returns or raises; DeadlineExceeded after `seconds` (by default
        `call_seconds`), while the work goes on."""
        self._asked = self._clock()
        return Call[T](seconds or self.settings.call_seconds, self._clock).run(work, what)

    def moment(self) -> datetime:
        """Now, for people."""
        return self._parts.moment()

    def settle_removal(self, promise: Promise, *, finish: bool) -> None:
        """After a removal that failed or was cut off: what does the storage say? Still there:
        the removal did not happen, nothing is lost. Begun: it reads as gone, and with `finish`
        it is brought to its end. Raises what the storage raises: the intent stays for the next
        try."""
        backend = self.attachments.backend(promise)
        try:
            if backend.get(promise.name).uuid == promise.uuid:
                self.attachments.record(promise, Event.FAILED)
                return
        except NotFound:
            self.inventory.discard(promise.name)
        if finish:
            backend.remove(Volume(promise.name, promise.uuid, "", backend.Options()))
            self.attachments.record(promise, Event.REMOVED)

    # -- the work --------------------------------------------------------------------------

    def _await_ready(self, call: Call[Any]) -> None:
        if not self.ready.wait(call.patience()):
            raise Unavailable("kedge is starting; try again")

    def _find(self, name: str, call: Call[Known]) -> Known:
        self._await_ready(call)
        if not self._lookups.acquire(timeout=call.patience()):
            raise Unavailable(f"volume {name} cannot be looked up: the storage does not answer")
        try:
            return self._resolve(name)
        finally:
            self._lookups.release()

    def _resolve(self, name: str) -> Known:
        if promise := self.ledger.get(name):
            self.attachments.backend(promise)  # a volume of a vanished profile is not "not found"
        return self.inventory.resolve(name)

    def _create(self, name: str, options: Mapping[str, str], call: Call[None]) -> None:
        self._await_ready(call)
        wanted = dict(options)
        profile = wanted.pop("backend", "") or self.settings.default_backend
        if profile not in self.backends:
            valid = ", ".join(self.backends)
            raise InvalidOptions(
                f"volume {name}", [f"backend={profile[:60]!r} is not a profile; there are: {valid}"]
            )
        with self.locks.hold(name, "creating", call.patience()):
            self.cloning.begin_anew(name)
            if known := self._existing(name, profile):
                self._must_agree(known, profile if "backend" in options else None, wanted)
                return
            profile = self.cloning.profile(name, options) or profile
            uuid = str(self._new_uuid())
            with self.cloning.prepared(name, wanted, uuid) as prepared:
                self.inventory.add(profile, self._make(name, profile, uuid, prepared))

    def _existing(self, name: str, profile: str) -> Known | None:
        """The volume if the storage has it now; memory only says where to look."""
        if known := self.inventory.find(name):
            profile = known.profile
        try:
            return self.inventory.add(profile, self.backends[profile].get(name))
        except NotFound:
            self.inventory.discard(name)
            return None

    def _make(self, name: str, profile: str, uuid: str, wanted: Mapping[str, str]) -> Volume[Any]:
        backend = self.backends[profile]
        merged = {**self.settings.profiles[profile].defaults, **wanted}
        options = parse(backend.Options, merged, subject=f"volume {name}")
        if options.access not in backend.capabilities.access:
            raise InvalidOptions(
                f"volume {name}", [f"access={options.access.value} is not possible on {profile}"]
            )
        self.attachments.let_go(name)  # an earlier volume of the name, removed by another node
        spec = Spec(name, options, uuid, self._now())
        promise = Promise(name, profile, spec.uuid, Entry(State.ABSENT))
        promise = self.attachments.record(promise, Event.CREATE)
        try:
            volume = backend.create(spec)
        except KedgeError:
            self.attachments.record(promise, Event.FAILED)
            raise
        self.attachments.record(promise, Event.CREATED)
        return volume

    def _must_agree(self, known: Known, profile: str | None, wanted: Mapping[str, str]) -> None:
        """Options not given express no wish. Raises Exists with every difference."""
        name, has = known.volume.name, to_strings(known.volume.options)
        differs = []
        if profile is not None and profile != known.profile:
            differs.append(f"backend is {known.profile}, not {profile}")
        else:
            cls = self.backends[known.profile].Options
            asked = to_strings(parse(cls, {**has, **wanted}, subject=f"volume {name}"))
            differs += [
                f"{key} is {has.get(key, 'unset')}, not {asked[key]}"
                for key in wanted
                if key in asked and not agrees(key, asked[key], has.get(key))
            ]
        if differs:
            raise Exists(f"volume {name} exists with other options: {'; '.join(differs)}")

    def _mount(self, name: str, mount_id: str, caller: int, call: Call[Path]) -> Path:
        self._await_ready(call)
        with self.locks.hold(name, "mounting", call.patience()):
            promise = self._attached(self._resolve(name), call)
            self._must_see(self.attachments.target(name), caller)
            self.attachments.mounted_at[name] = self._clock()
            if call.settle():
                self.ledger.change(name, lambda row: _held(row or promise, mount_id))
            return self.attachments.target(name)

    def _attached(self, known: Known, call: Call[Path]) -> Promise:
        """The volume attached and proven, attaching it when it is not."""
        promise = self.ledger.get(known.volume.name)
        if promise and self._is_mounted(promise, known):
            return promise
        volume = self.inventory.fresh(known)
        row = self._row(known.profile, volume)
        return self.attachments.attach(volume, row, call.patience())

    def _is_mounted(self, promise: Promise, known: Known) -> bool:
        """Whether the volume is mounted, says the kernel, and still the one of its name: a claim
        keeps other nodes from removing it, the lack of one does not."""
        if promise.uuid != known.volume.uuid or promise.entry.state is not State.ATTACHED:
            return False
        if not self.attachments.shown(promise):
            log.error("volume %s lost its mount behind our back; mounting it again", promise.name)
            return False
        owner = self.owners[promise.profile]
        if promise.claim is not None:
            owner.must_be_alive(promise.claim)
            return True
        return not owner.matters or self.inventory.fresh(known).uuid == promise.uuid

    def _row(self, profile: str, volume: Volume[Any]) -> Promise:
        """The ledger's row for a volume that the storage has; an earlier volume of the same name
        is let go of first. InUse while that one is still mounted."""
        promise = self.ledger.get(volume.name)
        if promise and promise.uuid == volume.uuid and promise.entry.state in ATTACHABLE:
            return promise
        if promise and promise.entry.state is State.REMOVING:
            self.settle_removal(promise, finish=True)
        self.attachments.let_go(volume.name)
        return Promise(volume.name, profile, volume.uuid, Entry(State.DETACHED))

    def _drop(self, name: str, mount_id: str) -> None:
        """Needs neither the volume's lock nor the storage, and so never waits for either."""
        promise = self.ledger.get(name)
        if promise is not None and mount_id in promise.entry.holders:
            self.ledger.amend(promise, lambda row: _dropped(row, mount_id))

    def _rest(self, name: str, mount_id: str, call: Call[None]) -> None:
        """Detach if nobody holds the volume any more.

        An ID stands for one container. When it lets go and is all that is left, and no process
        has the volume mounted, then its other references are of an earlier life of the engine,
        which mounts again under the same ID without having unmounted. A copy from a running
        container, the other cause of a second reference, has that container's processes; one
        that is only starting has none yet, so a Mount of a moment ago is believed.
        """
        self._await_ready(call)
        with self.locks.hold(name, "unmounting", call.patience()):
            promise = self.ledger.get(name)
            if promise is None or promise.entry.state not in LET_GO:
                return
            alone = set(promise.entry.holders) == {mount_id}
            if alone:
                self.attachments.left_at[name] = self._clock()  # the keeper looks again soon
            stale = alone and not self.attachments.just_mounted(name)
            if stale and not self.attachments.occupants(promise):
                promise = self.attachments.abandon(promise)
            if not promise.entry.holders:
                self.attachments.release(promise)

    def _remove(self, name: str, call: Call[None]) -> None:
        self._await_ready(call)
        with self.locks.hold(name, "removing", call.patience()):
            if self._finished_removal(name):
                return
            known = self._resolve(name)
            volume = self.inventory.fresh(known)
            self.attachments.let_go(name)
            with self.owners[known.profile].removing(volume):
                self._remove_here(Promise(name, known.profile, volume.uuid, REST), volume)
            self.inventory.discard(name)

    def _remove_here(self, promise: Promise, volume: Volume[Any]) -> None:
        promise = self.attachments.record(promise, Event.REMOVE)
        try:
            self.backends[promise.profile].remove(volume)
        except KedgeError:
            with suppress(KedgeError):
                self.settle_removal(promise, finish=False)
            raise
        self.attachments.record(promise, Event.REMOVED)

    def _take(self, name: str, call: Call[Known]) -> Known:
        self._await_ready(call)
        with self.locks.hold(name, "taking over", call.patience()):
            known = self._resolve(name)
            volume = self.inventory.fresh(known)
            owner = self.owners[known.profile]
            if not owner.needed(volume):
                raise Invalid(f"volume {name} needs no takeover: no claim keeps other nodes out")
            if self.ledger.get(name) is not None:
                raise Invalid(f"volume {name} is in use on this node; stop its containers instead")
            owner.release(owner.seize(volume))
            owner.learn(volume)
            return known

    def _finished_removal(self, name: str) -> bool:
        """Finish a removal that was begun before; False when there is still something to remove."""
        begun = self.ledger.get(name)
        if begun is None or begun.entry.state is not State.REMOVING:
            return False
        self.settle_removal(begun, finish=True)
        try:
            self.inventory.resolve(name)
        except NotFound:
            return True
        return False


def _held(promise: Promise, mount_id: str) -> Promise:
    return promise.holding(promise.entry.hold(mount_id))


def _dropped(promise: Promise, mount_id: str) -> Promise:
    return promise.holding(promise.entry.drop(mount_id))
