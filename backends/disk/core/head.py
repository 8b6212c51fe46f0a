"""The head of a disk: who owns it, and where its last checkpoint is. One record, changed by
compare-and-swap a few times a minute at most; everything else is found from it.

    disks/<uuid>   {format, uuid, size, epoch, session, node, state, checkpoint, pins, ...}
"""

import enum
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from backends.disk.core.history import Owner
from backends.errors import Conflict, Damaged, Exists, Fenced, KedgeError, NotFound
from backends.records import Record, Records
from backends.typed import typed

FORMAT = 2
KIND = "disks"
CLAIM_SHIFT = 20
"""An epoch is that of the claim, shifted, plus how often the disk was taken under the claim."""


CLONE = "clone:"
"""What the names of the pins begin with that clones hold; no snapshot can have such a name."""


class State(enum.Enum):
    """What may be done with a disk."""

    DETACHED = "detached"
    ATTACHED = "attached"
    CLONING = "cloning"
    """A clone whose first checkpoint is not made yet: nobody can open it."""
    DELETED = "deleted"


@dataclass(frozen=True)
class Pin:
    """A snapshot or clone: the disk as the checkpoint `manifest` has it, after record `seq`."""

    seq: int
    manifest: str
    size: int
    """Bytes of the disk then."""
    created: str = ""
    """When, as its maker said, for people."""
    call: str = ""
    """Tells a repetition of the call that made it from another one."""


@dataclass(frozen=True)
class Head:
    """A disk as its record says. Epochs only rise; a deleted disk's record stays."""

    uuid: str
    size: int
    """Bytes."""
    epoch: int = 0
    session: str = ""
    node: str = ""
    state: State = State.DETACHED
    ready: bool = False
    """Whether there is a file system on it."""
    checkpoint: str = ""
    """Key of the last checkpoint's manifest; empty before the first."""
    checkpoint_seq: int = 0
    boundary: int = 0
    """Log records up to here, fences excepted, may have been deleted."""
    pins: Mapping[str, Pin] = field(default_factory=lambda: MappingProxyType({}))
    """What collection has to leave alone, by name; see pins.py."""
    base: str = ""
    """The disk that this one was cloned from and whose objects it still uses."""
    key_name: str = ""
    """Of the profile's key that opens `wrapped_key`; empty: the disk is not encrypted."""
    wrapped_key: str = ""
    """The disk's data key (see ciphers.py)."""

    def encode(self) -> bytes:
        """The record's value."""
        fields = {**asdict(replace(self, pins={})), "state": self.state.value}
        if not self.wrapped_key:
            del fields["key_name"], fields["wrapped_key"]
        pins = {name: asdict(pin) for name, pin in sorted(self.pins.items())}
        return json.dumps({"format": FORMAT, **fields, "pins": pins}).encode()

    @classmethod
    def decode(cls, record: Record) -> "Head":
        """Damaged when it is of another format or makes no sense."""
        try:
            fields = json.loads(record.value)
            if fields.pop("format") not in (1, FORMAT):
                raise ValueError("it was written by a newer version of kedge; upgrade this node")
            pins = {name: Pin(**pin) for name, pin in fields["pins"].items()}
            head = typed(cls(**{**fields, "state": State(fields["state"]), "pins": pins}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"{record.key} is not the head of a disk: {error}") from error
        if record.key != f"{KIND}/{head.uuid}":
            raise Damaged(f"{record.key} is the head of another disk, {head.uuid}")
        return head

    def owned_by(self, owner: Owner) -> bool:
        """Whether `owner` holds the disk now."""
        return (self.epoch, self.session) == (owner.epoch, owner.session.hex())


class Heads:
    """The heads of one profile's disks. Every method may raise Unavailable: then the change may
    or may not have happened, and the same call made again finishes it."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._left: dict[str, tuple[Head, str]] = {}
        """Heads as their owners, in this process, have left them, with their versions."""

    def create(self, uuid: str, size: int, *, key_name: str = "", wrapped_key: str = "") -> Head:
        """Make the head of a new disk. There already: returned as it is, with the data key that it
        got then; Exists when it differs."""
        return self.begin(Head(uuid, size, key_name=key_name, wrapped_key=wrapped_key))

    def begin(self, head: Head) -> Head:
        """Make a head. There already: returned; Exists when its size or the name of its key
        differs or it was deleted."""
        uuid, size, key_name = head.uuid, head.size, head.key_name
        try:
            self._records.put(f"{KIND}/{uuid}", head.encode(), expected=None)
        except Conflict:
            head = self.read(uuid)
            if (head.size, head.key_name) != (size, key_name) or head.state is State.DELETED:
                raise Exists(f"disk {uuid} is there already and differs") from None
        return head

    def read(self, uuid: str) -> Head:
        """The head now. NotFound when there never was such a disk."""
        return self._read(uuid)[0]

    def take(self, uuid: str, *, claim: int, session: bytes, node: str) -> Head:
        """Make `session` the one that holds the disk, under a higher epoch than any before.

        Held by it already: returned. `claim` is the epoch of the claim under which this is done:
        Fenced when somebody with a later claim has held the disk. NotFound when it was deleted."""

        def step(head: Head) -> Head:
            if head.state is State.DELETED:
                raise NotFound(f"disk {uuid} was deleted")
            if head.state is State.CLONING:
                raise NotFound(f"disk {uuid} is a clone that is not ready yet")
            if head.session == session.hex():
                return replace(head, state=State.ATTACHED)
            if head.epoch >> CLAIM_SHIFT > claim:
                raise _lost(head, claim << CLAIM_SHIFT)
            epoch = max(head.epoch + 1, claim << CLAIM_SHIFT)
            return replace(
                head, epoch=epoch, session=session.hex(), node=node, state=State.ATTACHED
            )

        return self._change(uuid, step, owned=True)

    def let_go(self, uuid: str, owner: Owner) -> Head:
        """Record that the disk was closed. Fenced as in `change`."""
        return self.change(uuid, owner, lambda head: replace(head, state=State.DETACHED))

    def change(self, uuid: str, owner: Owner, step: Callable[[Head], Head]) -> Head:
        """Change the head of a disk that `owner` holds. Fenced when it does so no more, Damaged
        when the bucket has forgotten that it ever did."""

        def checked(head: Head) -> Head:
            if head.epoch < owner.epoch:
                raise put_back(head, owner.epoch)
            if not head.owned_by(owner):
                raise _lost(head, owner.epoch)
            return step(head)

        return self._change(uuid, checked, owned=True)

    def mark_ready(self, made: Head) -> bool:
        """Record that the disk has its file system, made under the epoch of `made` and closed.
        False: nothing is recorded, because not all of it is in the store, or somebody has taken
        the disk since."""

        def step(head: Head) -> Head:
            complete = head.epoch == made.epoch and head.state is State.DETACHED
            return replace(head, ready=head.ready or complete)

        return self._change(made.uuid, step).ready

    def rewrap(self, uuid: str, key_name: str, wrapped_key: str, *, instead_of: str) -> Head:
        """Keep the data key under another key of the profile. Conflict when `instead_of` is no
        longer how it is wrapped."""

        def step(head: Head) -> Head:
            if head.wrapped_key != instead_of:
                raise Conflict(f"the key of disk {uuid} was changed meanwhile; try again")
            return replace(head, key_name=key_name, wrapped_key=wrapped_key)

        return self._change(uuid, step)

    def grow(self, uuid: str, size: int) -> Head:
        """Record a larger size, whoever holds the disk; it counts when it is opened next."""
        return self._change(uuid, lambda head: replace(head, size=max(size, head.size)))

    def delete(self, uuid: str) -> Head | None:
        """Put the disk out of everybody's reach, for good: whoever holds it is fenced."""

        def step(head: Head) -> Head:
            if head.state is State.DELETED:
                return head
            clones = {name: pin for name, pin in head.pins.items() if name.startswith(CLONE)}
            ended = replace(head, epoch=head.epoch + 1, session="", node="", pins=clones)
            return replace(ended, state=State.DELETED)

        try:
            return self.update(uuid, step)
        except NotFound:
            return None

    def update(self, uuid: str, step: Callable[[Head], Head]) -> Head:
        """Change a head, whoever holds the disk. `step` may be called several times. NotFound."""
        return self._change(uuid, step)

    def _change(self, uuid: str, step: Callable[[Head], Head], *, owned: bool = False) -> Head:
        """`owned`: by its owner, whom hardly anybody else comes before. So he begins with the head
        as he has left it, and that is as safe as reading it first: the change is made only if it
        still is the latest. Nothing else is believed of it: not that there is nothing to change,
        nor that there must not be."""
        left = self._left.pop(uuid, None) if owned else None
        while True:
            head, version = left or self._read(uuid)
            try:
                changed = step(head)
            except KedgeError:
                if left is None:
                    raise
                changed = head
            if changed != head:
                with suppress(Conflict):
                    value = changed.encode()
                    made = self._records.put(f"{KIND}/{uuid}", value, expected=version)
                    if owned:
                        self._left[uuid] = (changed, made.version)
                    return changed
            elif left is None:
                return head
            left = None

    def _read(self, uuid: str) -> tuple[Head, str]:
        record = self._records.get(f"{KIND}/{uuid}")
        if record is None:
            raise NotFound(f"there is no disk {uuid}")
        return Head.decode(record), record.version


def put_back(head: Head, epoch: int) -> Damaged:
    """What to say of a head that was in `epoch` before: epochs only rise."""
    return Damaged(
        f"disk {head.uuid} is older in the bucket (epoch {head.epoch}) than it was on this "
        f"node (epoch {epoch}): the bucket was put back to an earlier state; if that "
        "is meant, move what this node keeps of the disk away"
    )


def _lost(head: Head, epoch: int) -> Fenced:
    who = f"node {head.node}" if head.node else "nobody: it was deleted"
    return Fenced(f"disk {head.uuid} is held by {who} since epoch {head.epoch}, not {epoch}")
