"""The seam: what a backend is, and the values that cross it.

A backend makes the files of a volume appear at a path on this node and take them away again. It
knows nothing of Docker, of mount IDs or of deadlines. All verbs are synchronous, may be called
from several threads for different volumes, and are idempotent: after a crash between any two
steps the same call finishes the job, because a partial state looks like the earlier one.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from backends.claims import Claim, Stale
from backends.options import Mode, Size, option
from backends.records import Records


class Access(enum.Enum):
    """Who may mount a volume for writing at the same time."""

    SINGLE = "single"
    SHARED = "shared"


class OnRemove(enum.Enum):
    """What becomes of the data when Docker removes the volume."""

    DELETE = "delete"
    KEEP = "keep"
    TRASH = "trash"


class Fencing(enum.Enum):
    """What keeps a stale writer out, from strongest to weakest; `NONE`: one node only."""

    STORE = "store"
    NODE = "node"
    ADVISORY = "advisory"
    NONE = "none"


@dataclass(frozen=True)
class VolumeOptions:
    """The options every backend understands. Backends extend this class."""

    access: Access = option(
        Access.SINGLE, help="single: one node writes at a time; shared: any number of nodes"
    )
    uid: int = option(0, help="owner of the volume's directory when it is new")
    gid: int = option(0, help="group of the volume's directory when it is new")
    mode: Mode = option(Mode(0o755), help="permissions of the volume's directory when it is new")
    on_remove: OnRemove = option(
        OnRemove.DELETE,
        help="what `docker volume rm` does with the data: delete them, keep them for a volume of "
        "the same name, or move them to the trash (`kedge trash`)",
    )

    def problems(self) -> Iterable[str]:
        """Rules over several options, checked once every single value is good."""
        return ()


@dataclass(frozen=True)
class ProfileSettings:
    """The settings of a profile. Backends extend this class."""

    def problems(self) -> Iterable[str]:
        """Rules over several settings, checked once every single value is good."""
        return ()


O_co = TypeVar("O_co", bound=VolumeOptions, covariant=True)
O = TypeVar("O", bound=VolumeOptions)  # noqa: E741
P = TypeVar("P", bound=ProfileSettings)


@dataclass(frozen=True)
class Spec(Generic[O_co]):
    """A wish: a checked name and effective options. `uuid` and `created` are the caller's."""

    name: str
    options: O_co
    uuid: str
    created: str
    """RFC 3339 in UTC with `Z`; Docker drops the whole volume when it cannot parse it."""


@dataclass(frozen=True)
class Volume(Generic[O_co]):
    """A volume that exists. `uuid` tells it from an earlier volume of the same name."""

    name: str
    uuid: str
    created: str
    options: O_co


@dataclass(frozen=True)
class Attachment:
    """The files of a volume at a path on this node, as the kernel shows them."""

    name: str
    uuid: str
    target: Path
    device: str
    """major:minor of the mounted file system, as in /proc/self/mountinfo."""
    root: str
    """The mounted directory within that file system; with `device` it identifies the data."""
    healthy: bool = True
    """False: mounted, but the data path behind it is dead."""


@dataclass(frozen=True)
class Occupant:
    """A process outside this service that still has a volume's files mounted."""

    pid: int
    command: str
    container: str
    """64 hex digits, or empty when the process is in no container."""


@dataclass(frozen=True)
class Usage:
    """Bytes of a volume: what it may hold and what it holds; None where it is not limited."""

    size: int | None
    used: int | None


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One line of `kedge doctor`: what was looked at, what is the case, what to do."""

    level: Level
    subject: str
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a configured backend can do. Read by Docker's Scope and Status, by option validation,
    by the choice of contract tests and by the table in the documentation."""

    everywhere: bool
    """Every node with this profile sees the same volumes (Docker's scope `global`)."""
    access: frozenset[Access]
    fencing: Fencing
    metered: bool = False
    """Every request to the storage costs money: what nobody waits for is asked seldom."""


@dataclass(frozen=True)
class Context:
    """Where a backend runs. All it may know of this node."""

    profile: str
    node: str
    mounts: Path
    """Every target lies directly below; shared with Docker's mount namespace."""
    state: Path
    """A directory of this profile on this node that outlives the process. May not exist yet."""
    trust: float = 3.0
    """Seconds for which this node may go by what its storage last said of a claim: others wait at
    least so much longer before they take what a node has that is not heard of any more."""


@dataclass(frozen=True)
class Removed:
    """What `remove` did with the data."""

    outcome: OnRemove
    where: str = field(default="")
    """For people: where kept or trashed data are."""


class Backend(ABC, Generic[P, O]):
    """Storage for volumes. Constructing one does no I/O and cannot fail: the service answers on
    its socket before the storage does. Every verb may raise Unavailable (nothing is implied,
    nothing is lost) and HostError; other errors are named at the verb.
    """

    Settings: ClassVar[type[Any]] = ProfileSettings
    Options: ClassVar[type[Any]] = VolumeOptions

    def __init__(self, settings: P, context: Context) -> None:
        self.settings = settings
        self.context = context

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this profile can do; constant for its lifetime."""

    @property
    @abstractmethod
    def records(self) -> Records:
        """The compare-and-swap store beside the data, where claims and leases live too."""

    @abstractmethod
    def create(self, spec: Spec[O]) -> Volume[O]:
        """Make the volume, empty, durable when this returns.

        Absent: made. Half made by an earlier call: first finished as that call wanted it (with
        the earlier uuid). Present with the same options: returned as it is. Present with others:
        Exists. No room: NoSpace, and nothing is left behind.
        """

    @abstractmethod
    def remove(self, volume: Volume[O]) -> Removed:
        """Take the volume away as its `on_remove` says. Absent, or replaced by a newer volume of
        the same name: does nothing. After this returns no node can attach it. Never called while
        attached here. Only `volume.name` and `volume.uuid` are looked at; what the storage has
        recorded decides the rest. A crash in the middle: the volume is gone from `get`, and the
        next `remove` or `create` of the name finishes."""

    @abstractmethod
    def get(self, name: str) -> Volume[O]:
        """The volume, read from the storage now. NotFound only when it certainly is not there."""

    @abstractmethod
    def volumes(self) -> Sequence[Volume[O]]:
        """All volumes of this profile, sorted by name. Must be cheap to repeat every few seconds:
        unchanged records are not read again. A volume whose record cannot be read is left out:
        `get` raises Damaged for it and `findings` names it."""

    @abstractmethod
    def attach(
        self, volume: Volume[O], target: Path, *, claim: Claim | None, read_only: bool = False
    ) -> Attachment:
        """Make the volume's files appear at `target` (made if missing, empty otherwise).

        Already attached there: returned as it is. Gone: NotFound. When this raises, nothing is
        mounted at `target`."""

    @abstractmethod
    def detach(self, attachment: Attachment) -> None:
        """Undo `attach`: unmounted, flushed, devices released, `target` removed. Not attached:
        does nothing. InUse while processes outside still hold the data (the mount at `target`
        may be gone by then; call again later)."""

    @abstractmethod
    def attachments(self) -> Sequence[Attachment]:
        """What the kernel shows as attached below `context.mounts` for this profile: never from
        memory. Unhealthy ones are included."""

    @abstractmethod
    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        """Processes outside this service that have these volumes' files mounted right now, by
        volume name (a volume nobody has mounted may be left out). One pass over the process
        table, however many volumes."""

    def usage(self, attachment: Attachment) -> Usage:
        """Bytes of an attached volume, read from the kernel. May block on dead storage."""
        return Usage(size=None, used=None)

    def status(self, volume: Volume[O]) -> dict[str, str]:
        """Facts for Docker's Status beyond the options. From memory, never blocks."""
        return {}

    def findings(self) -> Sequence[Finding]:
        """What `kedge doctor` should say about this profile: reachability first."""
        return ()


class Growth(enum.Enum):
    """When a larger size takes effect."""

    ONLINE = "now"
    NEXT_ATTACH = "at the next mount"


@runtime_checkable
class Resizable(Protocol):
    """Implemented by backends whose volumes can grow."""

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        """Grow the volume and record the new size. NotSupported for layouts without a size,
        Invalid for shrinking, NoSpace. Repeated with the same size: finishes or does nothing."""


@dataclass(frozen=True)
class Trashed:
    """A removed volume whose data are still there."""

    name: str
    uuid: str
    created: str
    removed: str


@runtime_checkable
class Trash(Protocol):
    """Implemented by backends that support `on_remove=trash`."""

    def trashed(self) -> Sequence[Trashed]:
        """What lies in the trash, oldest removal first."""

    def restore(self, uuid: str, name: str) -> None:
        """Bring a trashed volume back as `name`. NotFound, or Exists when the name is taken."""

    def purge(self, uuid: str) -> None:
        """Delete a trashed volume for good. Absent: does nothing."""


@runtime_checkable
class SelfFencing(Protocol):
    """Implemented by backends whose storage does not keep a stale writer out, but whose node can
    stop itself (`fencing=node`): before its lease can end, it cuts off every volume it writes."""

    def cut_off(self, attachment: Attachment) -> None:
        """Stop everybody on this node from writing to the volume, within a second or two and
        without asking the storage. Once this returns, every write fails and nothing that was
        written before and not yet sent will be. The attachment is unhealthy from then on; `attach`
        covers it with a fresh one, `detach` takes it away. Not attached, or cut off already: does
        nothing. HostError when it cannot be done for certain."""


@runtime_checkable
class Fences(Protocol):
    """Implemented by backends whose storage keeps a stale writer out (`fencing=store`)."""

    def fence_facts(self, volume: Volume[Any]) -> Mapping[str, str]:
        """What another node will need to fence this one; written into the claim before this
        node's first write. Never empty."""

    def fence(self, volume: Volume[Any], stale: Sequence[Stale]) -> None:
        """Make it impossible for these former holders to write to the volume ever again. Called
        under the new claim and before `attach`; repeated after a crash."""
