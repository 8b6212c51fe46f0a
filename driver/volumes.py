"""Volumes: the one service behind Docker's socket and the operator's.

The order of a mount, each step repeatable after a crash between any two:
lock -> intent in the ledger -> attach -> prove that the path is a mount of this volume ->
outcome in the ledger -> answer.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from backends.base import Attachment, Backend, Occupant, Spec, Usage, Volume
from backends.errors import (
    Exists,
    HostError,
    InUse,
    InvalidOptions,
    KedgeError,
    NotFound,
    Unavailable,
)
from backends.names import volume_name
from backends.options import parse, to_strings
from driver import status
from driver.deadline import Call
from driver.inventory import Inventory, Known
from driver.ledger import Ledger, Promise
from driver.lifecycle import Entry, Event, State
from driver.locks import Locks
from driver.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

LET_GO = frozenset({State.ATTACHING, State.ATTACHED, State.DETACHING, State.FENCED})
"""States from which a volume comes to rest by being released."""

JUST_MOUNTED = 5.0
"""Seconds in which a holder counts as real although no process has the volume mounted yet: the
engine is between the answer to Mount and the start of the container."""


class Volumes:
    """Thread-safe; calls for different volumes never wait for each other. Every verb answers
    within `call_seconds` or raises DeadlineExceeded while the work goes on."""

    def __init__(
        self,
        settings: Settings,
        backends: Mapping[str, Backend[Any, Any]],
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        now: Callable[[], str],
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self.settings = settings
        self.backends = backends
        self.ledger = ledger
        self.inventory = Inventory(backends)
        self.locks = Locks(clock)
        self.ready = threading.Event()
        """Set once recovery is done; until then Docker's questions wait."""
        self.usage: dict[str, Usage] = {}
        self.mounted_at: dict[str, float] = {}
        """When each volume was last asked for, on `clock`."""
        self._clock = clock
        self._now = now
        self._new_uuid = new_uuid

    # -- Docker's verbs -------------------------------------------------------------------

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make a volume. One that exists and agrees with every option given: nothing to do.
        Invalid*, Exists (with what differs), NoSpace, NotSupported, Unavailable."""
        volume_name(name)
        self._bounded(f"creating volume {name}", lambda call: self._create(name, options, call))

    def remove(self, name: str) -> None:
        """Remove a volume as its `on_remove` says. NotFound when it certainly is not there;
        InUse, naming who has it, while it is mounted on this node."""
        volume_name(name)
        self._bounded(f"removing volume {name}", lambda call: self._remove(name, call))

    def mount(self, name: str, mount_id: str) -> Path:
        """Where the volume's files are, now, on this node. Counts one more reference of
        `mount_id`, unless the caller was told that its time is over."""
        volume_name(name)
        what = f"mounting volume {name}"
        return self._bounded(what, lambda call: self._mount(name, mount_id, call))

    def unmount(self, name: str, mount_id: str) -> None:
        """Drop one reference of `mount_id`; an unknown ID or volume is no error. The reference is
        gone even when letting go of the storage fails: that is retried in the background,
        because Docker never repeats an Unmount."""
        volume_name(name)
        self._bounded(f"unmounting volume {name}", lambda call: self._unmount(name, mount_id, call))

    def get(self, name: str) -> status.View:
        """From memory; a name not in memory is looked up. NotFound only when certain."""
        volume_name(name)
        known = self.inventory.find(name) if self.ready.is_set() else None
        if known is None:
            known = self._bounded(f"looking for volume {name}", lambda call: self._find(name, call))
        return self.view(known)

    def list(self) -> Sequence[status.View]:
        """Every volume of every profile, from memory."""
        if not self.ready.wait(self.settings.call_seconds):
            raise Unavailable("kedge is starting; try again")
        return [self.view(known) for known in self.inventory.all()]

    @property
    def everywhere(self) -> bool:
        """Some profile's volumes are seen by other nodes too (Docker's scope `global`)."""
        return any(backend.capabilities.everywhere for backend in self.backends.values())

    # -- shared with recovery, the keeper and the operator's side --------------------------

    def target(self, name: str) -> Path:
        """Where the volume appears when it is mounted."""
        return self.settings.paths.mounts / volume_name(name)

    def view(self, known: Known) -> status.View:
        """The volume as people see it."""
        name = known.volume.name
        return status.view(
            known,
            self.backends[known.profile],
            self.ledger.get(name),
            self.usage.get(name),
            node=self.settings.node,
            mountpoint=str(self.target(name)),
        )

    def occupants(self, promise: Promise) -> Sequence[Occupant]:
        """Who has the volume mounted outside this service, says the kernel."""
        attachment = self.attachment(promise)
        backend = self.backends[promise.profile]
        return backend.occupants([attachment]).get(promise.name, ())

    def attachment(self, promise: Promise) -> Attachment:
        """The promise as the backend knows it."""
        return Attachment(
            name=promise.name,
            uuid=promise.uuid,
            target=self.target(promise.name),
            device=promise.device,
            root=promise.root,
        )

    def record(self, promise: Promise, event: Event, **changes: str) -> Promise:
        """Write the step that `event` makes, and return the new row."""
        return self.write(replace(promise, entry=promise.entry.step(event), **changes))

    def write(self, promise: Promise) -> Promise:
        """Put a row into the ledger and return it."""
        self.ledger.write(promise)
        return promise

    def attach(self, volume: Volume[Any], promise: Promise) -> Promise:
        """Attach and prove. Call with the volume's lock held. When it raises, nothing is mounted;
        a volume that was held keeps its intent, because its holders may still have the files."""
        promise = self.record(promise, Event.ATTACH)
        try:
            shown = self._attach_and_prove(volume, promise)
        except KedgeError:
            if not promise.entry.holders:
                self.record(promise, Event.FAILED)
            raise
        return self.record(promise, Event.ATTACHED, device=shown.device, root=shown.root)

    def _attach_and_prove(self, volume: Volume[Any], promise: Promise) -> Attachment:
        backend = self.backends[promise.profile]
        attachment = backend.attach(volume, self.target(volume.name), claim=None)
        if shown := self.shown(promise):
            return shown
        backend.detach(attachment)
        raise HostError(
            f"volume {volume.name} was attached but is not mounted at {attachment.target}; "
            "run `kedge doctor`"
        )

    def release(self, promise: Promise) -> None:
        """Detach what nobody holds. Call with the volume's lock held. Left for the keeper when
        processes still have it mounted or the storage refuses."""
        backend = self.backends[promise.profile]
        if users := self.occupants(promise):
            log.info("volume %s stays attached: %s", promise.name, describe(users))
            return
        promise = self.record(promise, Event.DETACH)
        try:
            backend.detach(self.attachment(promise))
        except KedgeError as error:
            log.warning("volume %s is not detached yet: %s", promise.name, error)
            return
        self.record(promise, Event.DETACHED)
        self.usage.pop(promise.name, None)
        self.mounted_at.pop(promise.name, None)

    def shown(self, promise: Promise) -> Attachment | None:
        """The kernel's view: a healthy mount of exactly this volume at its target, or None."""
        for attachment in self.backends[promise.profile].attachments():
            if attachment.name == promise.name and attachment.target == self.target(promise.name):
                same = attachment.uuid == promise.uuid and attachment.healthy
                return attachment if same else None
        return None

    # -- the work --------------------------------------------------------------------------

    def _bounded(self, what: str, work: Callable[[Call[T]], T]) -> T:
        return Call[T](self.settings.call_seconds, self._clock).run(work, what)

    def _await_ready(self, call: Call[Any]) -> None:
        if not self.ready.wait(call.remaining()):
            raise Unavailable("kedge is starting; try again")

    def _find(self, name: str, call: Call[Known]) -> Known:
        self._await_ready(call)
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
        with self.locks.hold(name, "creating", call.remaining()):
            if known := self._existing(name, profile):
                self._must_agree(known, profile if "backend" in options else None, wanted)
                return
            self.inventory.add(profile, self._make(name, profile, wanted))

    def _existing(self, name: str, profile: str) -> Known | None:
        if known := self.inventory.find(name):
            return known
        try:
            return self.inventory.add(profile, self.backends[profile].get(name))
        except NotFound:
            return None

    def _make(self, name: str, profile: str, wanted: Mapping[str, str]) -> Volume[Any]:
        backend = self.backends[profile]
        merged = {**self.settings.profiles[profile].defaults, **wanted}
        options = parse(backend.Options, merged, subject=f"volume {name}")
        if options.access not in backend.capabilities.access:
            raise InvalidOptions(
                f"volume {name}", [f"access={options.access.value} is not possible on {profile}"]
            )
        spec = Spec(name, options, str(self._new_uuid()), self._now())
        promise = Promise(name, profile, spec.uuid, Entry(State.ABSENT))
        promise = self.record(promise, Event.CREATE)
        try:
            volume = backend.create(spec)
        except KedgeError:
            self.record(promise, Event.FAILED)
            raise
        self.record(promise, Event.CREATED)
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
                if key in asked and asked[key] != has.get(key)
            ]
        if differs:
            raise Exists(f"volume {name} exists with other options: {'; '.join(differs)}")

    def _mount(self, name: str, mount_id: str, call: Call[Path]) -> Path:
        self._await_ready(call)
        with self.locks.hold(name, "mounting", call.remaining()):
            known = self.inventory.resolve(name)
            promise = self._attached(known)
            self.mounted_at[name] = self._clock()
            if call.settle():
                self.write(promise.holding(promise.entry.hold(mount_id)))
            return self.target(name)

    def _attached(self, known: Known) -> Promise:
        """The volume attached and proven, attaching it when it is not."""
        name = known.volume.name
        promise = self.ledger.get(name)
        if promise and promise.uuid == known.volume.uuid and promise.entry.state is State.ATTACHED:
            if self.shown(promise):
                return promise
            log.error("volume %s lost its mount behind our back; mounting it again", name)
        volume = self._fresh(known)
        if promise and promise.entry.state is State.REMOVING:
            self.settle_removal(promise, finish=False)
            promise = self.ledger.get(name)
        if promise is None or promise.uuid != volume.uuid or promise.entry.state is State.CREATING:
            promise = Promise(name, known.profile, volume.uuid, Entry(State.DETACHED))
        return self.attach(volume, promise)

    def _fresh(self, known: Known) -> Volume[Any]:
        """The volume as the storage has it now: another node may have removed or changed it."""
        try:
            volume = self.backends[known.profile].get(known.volume.name)
        except NotFound:
            self.inventory.discard(known.volume.name)
            raise
        self.inventory.add(known.profile, volume)
        return volume

    def _unmount(self, name: str, mount_id: str, call: Call[None]) -> None:
        self._await_ready(call)
        with self.locks.hold(name, "unmounting", call.remaining()):
            promise = self.ledger.get(name)
            if promise is None or promise.entry.state not in LET_GO:
                return
            promise = self.write(promise.holding(promise.entry.drop(mount_id)))
            if not promise.entry.holders:
                self.release(promise)

    def _remove(self, name: str, call: Call[None]) -> None:
        self._await_ready(call)
        with self.locks.hold(name, "removing", call.remaining()):
            known = self.inventory.resolve(name)
            self._let_go(name)
            volume = known.volume
            promise = Promise(name, known.profile, volume.uuid, Entry(State.DETACHED))
            promise = self.record(promise, Event.REMOVE)
            try:
                self.backends[known.profile].remove(volume)
            except KedgeError:
                self.settle_removal(promise, finish=False)
                raise
            self.record(promise, Event.REMOVED)
            self.inventory.discard(name)

    def settle_removal(self, promise: Promise, *, finish: bool) -> None:
        """After a removal that failed or was cut off: what does the storage say? Still there:
        the removal did not happen, nothing is lost. Begun: it reads as gone, and with `finish`
        it is brought to its end. Raises nothing when the storage cannot be asked: the intent
        stays for the next try."""
        backend = self.backends[promise.profile]
        try:
            volume = backend.get(promise.name)
            if volume.uuid == promise.uuid:
                self.record(promise, Event.FAILED)
                return
        except NotFound:
            self.inventory.discard(promise.name)
        except KedgeError:
            return
        if finish:
            backend.remove(Volume(promise.name, promise.uuid, "", backend.Options()))
            self.record(promise, Event.REMOVED)

    def _let_go(self, name: str) -> None:
        """Detach before a removal. InUse while a process has the volume mounted, or when it was
        mounted a moment ago; references that Docker forgot to drop do not count."""
        promise = self.ledger.get(name)
        if promise is None or promise.entry.state not in LET_GO:
            return
        if users := self.occupants(promise):
            raise InUse(f"volume {name} is in use by {describe(users)}; stop them first")
        age = self._clock() - self.mounted_at.get(name, float("-inf"))
        if promise.entry.holders and age < JUST_MOUNTED:
            raise InUse(f"volume {name} was mounted {age:.0f} s ago; stop its container first")
        self.release(self.write(promise.holding(promise.entry.abandon())))
        if (rest := self.ledger.get(name)) is not None:
            raise InUse(f"volume {name} cannot be let go ({rest.entry.state.value}); try again")


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
