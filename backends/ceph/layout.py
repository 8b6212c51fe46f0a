"""What both layouts do for one volume, and what of it they share."""

import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from backends.base import Attachment, Volume
from backends.ceph.cluster import Cluster
from backends.ceph.options import CephOptions, CephSettings
from backends.ceph.sessions import Session, Sessions
from backends.errors import Invalid
from backends.host import files
from backends.host.freezing import Freezer
from backends.host.locks import locked
from backends.host.mountinfo import Mount
from backends.host.staging import Staging
from backends.options import Size
from backends.records import Records
from backends.snapshots import Snapshot

ROOT = "/data"
"""What mountinfo shows as the root of every volume's mount: the file system's own root is never
handed out, so that `lost+found` and snapshots are nobody's data."""
_LOCK_SECONDS = 20.0
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True)
class Place:
    """One profile on one node."""

    settings: CephSettings
    cluster: Cluster
    records: Records
    sessions: Sessions
    staging: Staging
    freezer: Freezer
    state: Path
    node: str
    profile: str
    get: Callable[[str], Volume[CephOptions]]
    """Reads a volume of the profile. NotFound."""

    @property
    def mark(self) -> str:
        """Eight letters that tell this profile's devices from those of others on the machine."""
        return f"{zlib.crc32(f'{self.profile} {self.state}'.encode()):08x}"

    @property
    def user_part(self) -> str:
        """This node's part in the names of users."""
        return _UNSAFE.sub("_", self.node)

    def directory(self, name: str) -> Path:
        """A directory of this profile that is made when it is missing; secret."""
        path = self.state / name
        files.make_directory(path, 0o700)
        return path

    def locked(self, uuid: str) -> AbstractContextManager[None]:
        """Nobody else on this machine attaches or detaches the volume during the block."""
        return locked(self.directory("locks") / uuid, _LOCK_SECONDS)

    def forget_lock(self, uuid: str) -> None:
        """The volume is gone, and its uuid never comes again."""
        (self.directory("locks") / uuid).unlink(missing_ok=True)

    def own(self, uuid: str) -> list[Session]:
        """What of this node carries the volume's data, as far as it is written down."""
        found = self.sessions.of(uuid)
        return [one for one in found if one.node == self.node and not one.work]

    def origin(self, volume: Volume[CephOptions]) -> tuple[Volume[CephOptions], str] | None:
        """Which volume's snapshot a new volume is a copy of, and the snapshot's name; None: it
        begins empty. NotFound; Invalid, with what does not fit."""
        wanted = volume.options.from_
        if wanted is None:
            return None
        source = self.get(wanted.volume)
        for option in ("layout", "fs"):
            if getattr(source.options, option) is not getattr(volume.options, option):
                raise Invalid(
                    f"volume {volume.name} can only have the {option} of {wanted.volume}, from "
                    f"which it is made; leave {option} out"
                )
        return source, wanted.snapshot


class LayoutSnapshots(Protocol):
    """See `backends.snapshots.Snapshots`; the callers have shut out whoever has no right."""

    def create(
        self,
        volume: Volume[CephOptions],
        name: str,
        created: str,
        attachment: Attachment | None,
        epoch: int,
    ) -> None:
        """Take one, under the claim of this epoch (0: none)."""

    def all(self, volume: Volume[CephOptions]) -> dict[str, Snapshot]:
        """Those there are, by their names in the cluster, oldest first."""

    def remove(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        """Take one away, under the claim of this epoch (0: none)."""

    def restore(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        """Go back to one, under the claim of this epoch (0: none)."""


class Layout(Protocol):
    """See also `backends.catalog.Data`."""

    fresh: ClassVar[bool]
    """Whether a fresh mount can cover a dead one; else the dead one has to go first."""

    @property
    def snapshots(self) -> LayoutSnapshots:
        """What it does with snapshots."""

    def make(self, volume: Volume[CephOptions]) -> None:
        """Make the data, durable on return. There already: left untouched."""

    def delete(self, volume: Volume[CephOptions]) -> None:
        """Delete the data. Gone: does nothing."""

    def where(self, volume: Volume[CephOptions]) -> str:
        """Where the data lie, for people."""

    def mount(
        self, volume: Volume[CephOptions], target: Path, *, read_only: bool, epoch: int
    ) -> None:
        """Make the data appear at the mount point `target`, under the claim of this epoch (0:
        none). Damaged when they are missing."""

    def owner(self, mount: Mount) -> tuple[str, bool] | None:
        """(uuid, healthy) when `mount` shows a volume of this profile. Never blocks for long,
        never asks the cluster."""

    def release(self, attachment: Attachment) -> None:
        """Wait until the data are written and let the client go, when nothing here has the volume
        mounted any more. InUse while something has."""

    def tidy(self, uuid: str) -> None:
        """Take away what a crash left of a client that had not yet written anything."""

    def give_up(self, uuid: str) -> None:
        """End a client of this node that the cluster has shut out, so that nobody waits for it
        for ever. Unavailable when the cluster cannot be asked."""

    def clients(self, uuid: str) -> list[Session]:
        """Every client that may write the volume, but one of this node that is well. Those of
        this node are what a crash left. Node `?`: the cluster knows it, and nobody wrote it
        down."""

    def shut_out(self, uuid: str, clients: Sequence[Session]) -> None:
        """Make the cluster refuse everything to these clients, and strike them out."""

    def grow(self, volume: Volume[CephOptions], size: Size, attachment: Attachment | None) -> bool:
        """Make the data hold `size` bytes. False: the rest happens at the next mount."""

    def carrier(self) -> str:
        """What carries the data on this node, for people."""
