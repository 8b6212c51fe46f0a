"""Snapshots as people ask for them: under the volume's lock and its claim.

A snapshot is taken where the volume is: on the node that has it attached, through what is attached,
or on any node when none has it, which then holds the claim for as long as it takes. Going back to
one needs a volume that nobody has.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.base import Access, Attachment, Volume
from backends.claims import Claim
from backends.errors import Busy, NotSupported, Unavailable
from backends.names import volume_name
from backends.snapshots import Snapshot, Snapshots, name_by_hand, snapshot_name
from driver.lifecycle import State
from driver.parts import Parts

NAME_BY_HAND = "%Y%m%d-%H%M%S"
"""What a snapshot is called that nobody gave a name."""


@dataclass(frozen=True)
class Held:
    """A volume that nobody else changes: its lock is held, and its claim where it needs one."""

    volume: Volume[Any]
    backend: Snapshots
    attachment: Attachment | None
    claim: Claim | None


class Snapshotting:
    """Thread-safe. No verb has a time limit: a copy may take long. Who may not wait calls
    through `Volumes.bounded`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.newest: dict[str, str] = {}
        """By uuid of the volume, as far as this service has seen it: for Status."""

    def create(self, name: str, snapshot: str = "") -> Snapshot:
        """Take one by hand; without a name it is called after the moment. NotFound, Exists,
        InvalidName, NotSupported, InUse; Claimed, naming the node that has the volume."""
        now = self._parts.moment()
        wanted = name_by_hand(snapshot or now.strftime(NAME_BY_HAND))
        return self.take(volume_name(name), wanted)

    def take(self, name: str, snapshot: str) -> Snapshot:
        """Take one under any name: the schedule's, for example."""
        created = self._parts.moment().strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._held(name, f"taking snapshot {snapshot}") as held:
            taken = held.backend.snapshot_create(
                held.volume,
                snapshot,
                created=created,
                attachment=held.attachment,
                claim=held.claim,
            )
            self.newest[held.volume.uuid] = taken.name
            return taken

    def list(self, name: str) -> Sequence[Snapshot]:
        """All of a volume, oldest first, as the storage has them. Waits for nobody's lock."""
        known = self._parts.inventory.resolve(volume_name(name))
        return self.look(self._parts.inventory.fresh(known), self.backend(known.profile))

    def look(self, volume: Volume[Any], backend: Snapshots) -> Sequence[Snapshot]:
        """The same for a volume at hand."""
        found = backend.snapshot_list(volume)
        self.newest.pop(volume.uuid, None)
        if found:
            self.newest[volume.uuid] = found[-1].name
        return found

    def remove(self, name: str, snapshot: str) -> None:
        """Remove one; absent: does nothing. NotFound when there is no such volume."""
        wanted = snapshot_name(snapshot)
        with self._held(volume_name(name), f"removing snapshot {wanted}") as held:
            held.backend.snapshot_remove(held.volume, wanted, claim=held.claim)
            self.look(held.volume, held.backend)

    def restore(self, name: str, snapshot: str) -> None:
        """Go back to one. InUse, naming who has the volume, while it is mounted here; Claimed while
        another node has it; NotSupported where that cannot be known."""
        wanted = snapshot_name(snapshot)
        with self._held(volume_name(name), f"going back to {wanted}", at_rest=True) as held:
            held.backend.snapshot_restore(held.volume, wanted, claim=held.claim)

    def backend(self, profile: str) -> Snapshots:
        """The backend of a profile. NotSupported when it has no snapshots."""
        backend = self._parts.backends[profile]
        if not isinstance(backend, Snapshots):
            raise NotSupported(f"volumes of {profile} have no snapshots; see `kedge options`")
        return backend

    @contextmanager
    def _held(self, name: str, doing: str, *, at_rest: bool = False) -> Iterator[Held]:
        parts = self._parts
        with parts.locks.hold(name, doing, parts.settings.call_seconds):
            known = parts.inventory.resolve(name)
            backend = self.backend(known.profile)
            volume = parts.inventory.fresh(known)
            if at_rest:
                self._let_go(volume, known.profile)
            attached = self._attached(volume)
            if attached is not None:
                yield Held(volume, backend, *attached)
                return
            with parts.owners[known.profile].borrowed(volume, 0.0) as claim:
                yield Held(volume, backend, None, claim)

    def _let_go(self, volume: Volume[Any], profile: str) -> None:
        backend = self._parts.backends[profile]
        if volume.options.access is Access.SHARED and backend.capabilities.everywhere:
            raise NotSupported(
                f"volume {volume.name} is shared, so kedge cannot know whether another node has it "
                "mounted; make a new volume from the snapshot (-o from=VOLUME@SNAPSHOT) instead"
            )
        self._parts.attachments.let_go(volume.name)

    def _attached(self, volume: Volume[Any]) -> tuple[Attachment, Claim | None] | None:
        """Where the volume is on this node, and the claim it has it by; None: it is not here."""
        promise = self._parts.ledger.get(volume.name)
        if promise is None or promise.uuid != volume.uuid:
            return None
        if promise.entry.state is not State.ATTACHED:
            raise Busy(f"volume {volume.name} is {promise.entry.state.value}; try again")
        attachment = self._parts.attachments.shown(promise)
        if attachment is None:
            raise Unavailable(f"volume {volume.name} has lost its mount; try again")
        self._parts.attachments.owner(promise).must_be_alive(promise.claim)
        return attachment, promise.claim
