"""A backend whose volumes lie below one root, as directories or as images."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from backends.ambient import utc_now
from backends.base import (
    Access,
    Attachment,
    Backend,
    Context,
    Finding,
    Growth,
    Occupant,
    P,
    Removed,
    Spec,
    Trashed,
    Usage,
    Volume,
)
from backends.catalog import Catalog
from backends.claims import Claim
from backends.errors import NotFound, NotSupported
from backends.host import loop
from backends.host.failures import explained
from backends.host.freezing import Freezer
from backends.inspection import Exported, Progress, Sink
from backends.options import Size
from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.records.guarded import Checked, GuardedRecords
from backends.snapshots import Snapshot
from backends.tree import detaching, findings, image
from backends.tree.data import TreeData
from backends.tree.directory import DirectoryLayout, Limit, no_limit
from backends.tree.image import ImageLayout
from backends.tree.inspection import Inspection
from backends.tree.mounted import Mounted
from backends.tree.options import Layout, TreeOptions
from backends.tree.origin import Origin
from backends.tree.reaper import Reaper
from backends.tree.removal import Removal
from backends.tree.reserve import Reserve
from backends.tree.reserved_records import ReservedRecords
from backends.tree.resize import Resize
from backends.tree.snapshots import TreeSnapshots
from backends.tree.source import Direct, Source, opened
from backends.tree.staging import Staging
from backends.tree.store import Store

T = TypeVar("T", bound=TreeOptions)


class TreeBackend(Backend[P, T], Generic[P, T]):
    """Everything but `capabilities`. Also Resizable, Trash and Snapshots. A subclass that does not
    reach its data directly brings a `source`; `limit` is called for every new plain directory with
    a size, `guard` wraps the records."""

    def __init__(
        self,
        settings: P,
        context: Context,
        store: Store,
        *,
        source: Source | None = None,
        limit: Limit = no_limit,
        guard: Callable[[Records], Records] = lambda records: records,
    ) -> None:
        super().__init__(settings, context)
        self.store = store
        self.source = source or Direct(store)
        self.reaper = Reaper(self.store.volumes)
        self._staging = Staging(context.state / "staging")
        self._freezer = Freezer(context.state / "frozen")
        removal = Removal(self.store, self.source, self._staging, self.reaper)
        origin = Origin(self.source, self.get)
        directory = DirectoryLayout(self.store, self.source, self._staging, origin, removal, limit)
        self._image = ImageLayout(
            self.store, self.source, self._staging, context.node, origin, self._freezer
        )
        self._data = TreeData({Layout.DIRECTORY: directory, Layout.IMAGE: self._image}, removal)
        self._snapshots = TreeSnapshots(
            self.store,
            self.source,
            removal,
            {Layout.DIRECTORY: directory, Layout.IMAGE: self._image},
            context.node,
        )
        self._inspection = Inspection(self.source, self._image)
        self._reserve = Reserve(store.root / "reserve")
        self._records = guard(
            GuardedRecords(
                ReservedRecords(DirectoryRecords(self.store.records), self._reserve),
                Checked(self.check),
            )
        )
        self._catalog = Catalog(
            self._records, self.Options, self._data, now=utc_now, settle=_settled
        )
        self._mounted = Mounted(self.source, self._staging, self._image, context.mounts)
        self._opening = threading.Lock()
        self._opened = False

    @property
    def records(self) -> Records:
        return self._records

    def create(self, spec: Spec[T]) -> Volume[T]:
        with explained(f"create volume {spec.name}"):
            return self._catalog.create(spec)

    def remove(self, volume: Volume[T]) -> Removed:
        with explained(f"remove volume {volume.name}"):
            return self._reserve.spend(lambda: self._catalog.remove(volume))

    def get(self, name: str) -> Volume[T]:
        return self._catalog.get(name)

    def volumes(self) -> Sequence[Volume[T]]:
        return self._catalog.volumes()

    def attach(
        self,
        volume: Volume[T],
        target: Path,
        *,
        claim: Claim | None,
        read_only: bool = False,
    ) -> Attachment:
        current = self._catalog.get(volume.name)
        if current.uuid != volume.uuid:
            raise NotFound(f"volume {volume.name!r} was replaced by another of the same name")
        with explained(f"attach volume {volume.name}"):
            if (shown := self._mounted.usable(current, target)) is not None:
                return shown
            with opened(self.source, current.uuid), self._mounted.place(target):
                self._data.layout(current).mount(current, target, read_only=read_only)
                return self._mounted.proof(current, target)

    def detach(self, attachment: Attachment) -> None:
        with explained(f"detach volume {attachment.name}"):
            for shown in self._mounted.all():
                if (shown.uuid, shown.target) == (attachment.uuid, attachment.target):
                    attachment = shown
            detaching.unmount(attachment, self._mounted.shows(attachment.uuid))
            detaching.await_release(attachment, lambda: self._released(attachment))
            self.source.close(attachment.uuid)

    def attachments(self) -> Sequence[Attachment]:
        with explained("read the mount table"):
            return self._mounted.all()

    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        with explained("read the process table"):
            return detaching.holding(attachments)

    def usage(self, attachment: Attachment) -> Usage:
        """Of an image; what a plain directory holds would have to be counted."""
        if attachment.root != image.ROOT or loop.number_of(attachment.device) is None:
            return Usage(size=None, used=None)
        with explained(f"measure volume {attachment.name}"):
            facts = os.statvfs(attachment.target)
        size = facts.f_blocks * facts.f_frsize
        return Usage(size=size, used=size - facts.f_bfree * facts.f_frsize)

    def status(self, volume: Volume[T]) -> dict[str, str]:
        return {"data": self._data.where(volume)}

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        volume = self._catalog.get(name)
        with explained(f"resize volume {name}"):
            grow = Resize(self._image, self._catalog)
            return grow(volume, size, attachment)

    def snapshot_create(
        self,
        volume: Volume[T],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        self.check()
        if volume.options.access is Access.SHARED and self.capabilities.everywhere:
            raise NotSupported(
                f"volume {volume.name} is shared: kedge cannot know whether another node writes to "
                "it; only volumes with access=single have snapshots here"
            )
        with explained(f"take snapshot {name} of volume {volume.name}"):
            return self._snapshots.create(volume, name, created, attachment)

    def snapshot_list(self, volume: Volume[T]) -> Sequence[Snapshot]:
        self.check()
        with explained(f"list the snapshots of volume {volume.name}"):
            return self._snapshots.all(volume)

    def snapshot_remove(self, volume: Volume[T], name: str, *, claim: Claim | None) -> None:
        self.check()
        with explained(f"remove snapshot {name} of volume {volume.name}"):
            self._snapshots.remove(volume, name)

    def snapshot_restore(self, volume: Volume[T], name: str, *, claim: Claim | None) -> None:
        self.check()
        with explained(f"bring volume {volume.name} back to snapshot {name}"):
            self._snapshots.restore(volume, name)

    def fsck(self, volume: Volume[T], progress: Progress, *, attached: bool) -> Sequence[Finding]:
        self.check()
        with explained(f"check volume {volume.name}"):
            return self._inspection.fsck(volume, progress, attached=attached)

    def export(
        self, volume: Volume[T], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        self.check()
        with explained(f"export volume {volume.name}"):
            return self._inspection.export(volume, snapshot, to, progress)

    def trashed(self) -> Sequence[Trashed]:
        return self._catalog.trashed()

    def restore(self, uuid: str, name: str) -> None:
        self._catalog.restore(uuid, name)

    def purge(self, uuid: str) -> None:
        with explained(f"purge {uuid}"):
            self._reserve.spend(lambda: self._catalog.purge(uuid))

    def findings(self) -> Sequence[Finding]:
        return findings.of(self.store, self.reaper, self._catalog, self._mounted)

    def check(self) -> None:
        """The root is the right one; the first time, what a crash left is taken away."""
        self.store.check()
        with self._opening:
            if self._opened:
                return
            with explained(f"tidy up {self.context.state}"):
                self._staging.sweep()
            self._freezer.recover({one.uuid: one.target for one in self._mounted.all()})
            self._reserve.ensure()
            self.reaper.start()
            self._opened = True

    def _released(self, attachment: Attachment) -> bool:
        """Whether nobody outside holds the data of an attachment that is unmounted here."""
        number = loop.number_of(attachment.device) if attachment.device else None
        if number is not None and attachment.root == image.ROOT:
            return not self._image.holds(number, attachment.uuid)
        return not detaching.holding([attachment])


def _settled(options: T) -> T:
    return options.settled()
