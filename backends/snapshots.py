"""Optional at the seam: snapshots of a volume, going back to one, and volumes made from one.

A backend that can do this implements `Snapshots` and lets its options extend `SnapshotOptions`.
A clone has no verb of its own: it is `Backend.create` of a spec whose options say `from`, so that
it is made, finished after a crash and compared like any other volume.

Snapshots are made by hand, or by the schedule in the volume's options. Which of the two is told by
the name alone: `hourly-20260203T04Z` belongs to the schedule, and nobody else may use such a name.
"""

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from backends.base import Attachment, Volume, VolumeOptions
from backends.claims import Claim
from backends.errors import InvalidName
from backends.names import volume_name
from backends.options import option

MAX_LENGTH = 64
_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_RULE = re.compile(r"([a-z]+):([0-9]{1,4})", re.ASCII)


class Every(enum.Enum):
    """How often the schedule takes a snapshot; the value is the name of the rule."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    def period(self, now: datetime) -> str:
        """What is the same for all moments of one period, and greater for later ones."""
        return now.astimezone(UTC).strftime(_PERIODS[self])

    def snapshot(self, now: datetime) -> str:
        """The name of the snapshot of the period that `now` lies in."""
        return f"{self.value}-{self.period(now)}"


_PERIODS = {
    Every.HOURLY: "%Y%m%dT%HZ",
    Every.DAILY: "%Y%m%dZ",
    Every.WEEKLY: "%GW%VZ",
    Every.MONTHLY: "%Y%mZ",
}
_SCHEDULED = re.compile(rf"({'|'.join(every.value for every in Every)})-[0-9TW]{{6,11}}Z", re.ASCII)


@dataclass(frozen=True)
class Snapshot:
    """The content of a volume at one moment. `size`: what the volume could hold then; `used`: the
    bytes that the snapshot takes, shared ones included; None where that is not known."""

    name: str
    created: str
    """RFC 3339 in UTC with `Z`."""
    size: int | None = None
    used: int | None = None

    @property
    def every(self) -> Every | None:
        """The rule of the schedule that made it; None: made by hand."""
        return scheduled_by(self.name)


def snapshot_name(name: object) -> str:
    """Return `name` unchanged if it may name a snapshot, else raise InvalidName."""
    if not isinstance(name, str) or not name:
        raise InvalidName("the request names no snapshot; give a name")
    if len(name) > MAX_LENGTH or not _ALLOWED.fullmatch(name):
        raise InvalidName(
            f"snapshot name {name[:80]!r} is not allowed; use at most {MAX_LENGTH} letters, "
            "digits, '_', '.' and '-', starting with a letter or digit"
        )
    return name


def name_by_hand(name: object) -> str:
    """The same, for a name that a person chose: not one that the schedule would remove."""
    checked = snapshot_name(name)
    if every := scheduled_by(checked):
        raise InvalidName(
            f"snapshot name {checked!r} belongs to the schedule, which removes its own in time; "
            f"choose one that does not begin with {every.value!r}"
        )
    return checked


def scheduled_by(name: str) -> Every | None:
    """The rule of the schedule whose snapshots are named like this."""
    found = _SCHEDULED.fullmatch(name)
    return Every(found[1]) if found else None


@dataclass(frozen=True)
class Rule:
    """One period, and how many of its snapshots are kept."""

    every: Every
    keep: int


@dataclass(frozen=True)
class Schedule:
    """Which snapshots are taken by themselves, written `hourly:24,daily:7`."""

    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        return ",".join(f"{rule.every.value}:{rule.keep}" for rule in self.rules)

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Raise ValueError with what is expected."""
        rules = []
        for part in text.split(","):
            found = _RULE.fullmatch(part.strip())
            if not found or found[1] not in [every.value for every in Every] or not int(found[2]):
                names = ", ".join(every.value for every in Every)
                raise ValueError(
                    f"is not a schedule; write it like hourly:24,daily:7 (there are: {names})"
                )
            rules.append(Rule(Every(found[1]), int(found[2])))
        if len({rule.every for rule in rules}) < len(rules):
            raise ValueError("names a period twice")
        return cls(tuple(rules))

    def due(self, there: Iterable[Snapshot], now: datetime) -> list[str]:
        """The names of the snapshots that should be taken now: one for each rule that has none of
        this period yet. A clock that went back takes nothing again; a period in which nobody could
        take one is not made up for."""
        names = {one.name for one in there}
        return [
            rule.every.snapshot(now)
            for rule in self.rules
            if max(_of(rule.every, names), default="") < rule.every.snapshot(now)
        ]

    def expired(self, there: Iterable[Snapshot]) -> list[str]:
        """The names of the scheduled snapshots that are not kept any longer, oldest first. Those
        of a rule that the schedule no longer has are among them; those made by hand never."""
        names = {one.name for one in there}
        keep = {rule.every: rule.keep for rule in self.rules}
        return [
            name
            for every in Every
            for name in sorted(_of(every, names), reverse=True)[keep.get(every, 0) :][::-1]
        ]


def _of(every: Every, names: Iterable[str]) -> list[str]:
    return [name for name in names if scheduled_by(name) is every]


@dataclass(frozen=True)
class Source:
    """What a clone is made from, written `VOLUME@SNAPSHOT`, or `VOLUME` for what it holds now.
    Backends only meet the first: the driver takes a snapshot for the second."""

    volume: str
    snapshot: str = ""

    def __str__(self) -> str:
        return f"{self.volume}@{self.snapshot}" if self.snapshot else self.volume

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Raise ValueError with what is wrong."""
        volume, at, snapshot = text.partition("@")
        try:
            return cls(volume_name(volume), snapshot_name(snapshot) if at else "")
        except InvalidName as error:
            raise ValueError(f"is not VOLUME or VOLUME@SNAPSHOT: {error}") from None


@dataclass(frozen=True)
class SnapshotOptions(VolumeOptions):
    """The options of backends with snapshots. `from_` and `snapshots` never change what a volume
    that exists can do; both are recorded with it."""

    from_: Source | None = option(
        None,
        help="make the volume from another one of the same profile, or from a snapshot of it; "
        "options that are left out are as they are there",
        placeholder="VOLUME[@SNAPSHOT]",
    )
    snapshots: Schedule | None = option(
        None,
        help="snapshots that are taken by themselves, and how many of them are kept",
        placeholder="hourly:24,daily:7",
    )


@runtime_checkable
class Snapshots(Protocol):
    """Implemented by backends whose volumes can have snapshots. All verbs are called under the
    volume's lock of this node, `volume` just read. `claim`: this node's claim of the volume, where
    the volume needs one; held, so no other node writes to it. Each may raise NotSupported, in one
    sentence that says which layout or backend can, and what every verb of `Backend` may.

    A clone: `create` of a spec whose `options.from_` names a volume of this profile and one of its
    snapshots makes a volume with that content. NotFound when there is no such volume or snapshot;
    Invalid when the other options do not fit it (another layout or file system, a smaller size).
    It depends on its source no longer than the call: either can be removed without the other."""

    def abandon(self, name: str, uuid: str) -> None:
        """Undo a `create` of this name and uuid that was begun and will not be finished. A volume
        that is whole, or was removed, or another one of that name: nothing is done, whatever the
        trash or another name has of it by now. Can be repeated, also after a crash in it. Conflict
        when somebody else works on it."""

    def snapshot_create(
        self,
        volume: Volume[Any],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        """Keep what the volume holds now under `name`, durable when this returns.

        `attachment`: where the volume is attached on this node; then the snapshot has everything
        that was synced before the call, and is as consistent as the file system after a power cut
        or better (`backends.host.freezing`). None: it is attached nowhere. Name taken: Exists. A
        crash in the middle: no such snapshot is listed, and the next `snapshot_create` of the name
        starts anew. InUse when this layout can only be copied while nobody has it attached;
        NoSpace, and nothing is left behind."""

    def snapshot_list(self, volume: Volume[Any]) -> Sequence[Snapshot]:
        """The snapshots of a volume, oldest first; complete ones only. Read from the storage now,
        cheap enough to be repeated every minute."""

    def snapshot_remove(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        """Take a snapshot away; space may come back later. Absent: does nothing. A crash in the
        middle: it is still listed and whole, or gone."""

    def snapshot_restore(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        """Make the volume hold what it held when the snapshot was taken; what it holds now is
        lost. Its options, its size among them, and all its snapshots stay. Never called while
        attached on any node. NotFound when there is no such snapshot. A crash in the middle: the
        volume holds the old content or the new one, whole, and the call can be repeated."""
