"""Optional at the seam: looking a volume's storage over, and carrying its content away.

Both only read. Progress is told while they work; what is called for that may raise, and then the
work stops where it is: nobody is there any more who would want the answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from backends.base import Finding, Volume
from backends.claims import Claim

Progress = Callable[[int, int], None]
"""`progress(done, total)`, in bytes (or objects), at least once a second or every few MiB. `total`
may change while more becomes known; 0: not known yet. May raise to stop the work."""


def unwatched(done: int, total: int) -> None:
    """A Progress that nobody looks at."""


class Sink(Protocol):
    """Where an export goes: a stream that is only written, in order."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`; may wait for a slow reader, and raises when nobody reads."""


@dataclass(frozen=True)
class Exported:
    """What went into a sink."""

    form: str
    """`disk` (a raw image of a block device with a file system on it) or `tar` (a directory)."""
    size: int
    """Bytes written."""
    lost: tuple[str, ...] = ()
    """In words: what of the volume is not in it; only of what was damaged."""


@runtime_checkable
class Checkable(Protocol):
    """Implemented by backends that can look a volume's storage over (`kedge fsck`)."""

    def fsck(self, volume: Volume[Any], progress: Progress, *, attached: bool) -> Sequence[Finding]:
        """Read everything that the volume consists of and say what is wrong with it; changes
        nothing. The last finding says, at level `ok`, what was looked at, when nothing was wrong.
        `attached`: some node may be writing to it meanwhile; then what changes under the check
        must not be taken for damage: InUse where the two cannot be told apart."""


@runtime_checkable
class Exportable(Protocol):
    """Implemented by backends that can write a volume's content as one stream (`kedge export`)."""

    def export(
        self, volume: Volume[Any], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        """Write the content of a snapshot, or with None that of the volume, which is then attached
        nowhere and stays so, kept by its claim. NotFound when there is no such snapshot. Raises
        what `to` raises. What was written before an error is incomplete and not a volume."""


@dataclass(frozen=True)
class Cut:
    """A volume that goes on without a record of its log."""

    before: int
    """That one."""
    kept: str
    """The snapshot that holds what later records say; empty: none could be read."""
    lost: tuple[int, ...]
    """Records that are in neither."""


@runtime_checkable
class Salvageable(Protocol):
    """Implemented by backends that can show what is left of a volume whose storage is damaged."""

    def export_damaged(
        self, volume: Volume[Any], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        """As `export`, of a volume or a snapshot of which something is missing: the last state of
        it that is known to have been one, with zeros for what cannot be read, and `lost` says all
        that. Damaged when nothing is left."""

    def cut(self, volume: Volume[Any], before: int, *, created: str, claim: Claim | None) -> Cut:
        """Let a volume that is attached nowhere go on, for good, from before record `before` of its
        log, which must be the first that is missing or damaged: Invalid, and nothing is changed,
        when it is not. What later records say is kept as a snapshot. May be repeated."""


@dataclass(frozen=True)
class Orphan:
    """What this node had written to a volume and not yet sent when another node took it."""

    name: str
    kept: str
    """Since when, RFC 3339 in UTC with `Z`."""
    size: int
    """Bytes that are kept on this node's disk for it."""


@runtime_checkable
class Orphans(Protocol):
    """Implemented by backends that keep such writes (`kedge orphans`)."""

    def orphans(self, volume: Volume[Any]) -> Sequence[Orphan]:
        """Those of a volume that are on this node, oldest first."""

    def export_orphan(
        self, volume: Volume[Any], name: str, to: Sink, progress: Progress
    ) -> Exported:
        """Write the volume as it would be if the orphan had been sent. Where the storage has no
        longer what it followed, only the blocks in it are written, zeros between them, and `form`
        is `blocks`: that is no file system. NotFound, Damaged."""
