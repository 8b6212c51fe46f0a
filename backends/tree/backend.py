"""A backend whose volumes lie below one root, as directories or as images."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, TypeVar

from backends.base import (
    Access,
    Attachment,
    Context,
    Finding,
    Growth,
    P,
    Removed,
    Usage,
    Volume,
)
from backends.claims import Claim
from backends.errors import NotSupported
from backends.host import loop
from backends.host.failures import explained
from backends.host.staging import Staging
from backends.inspection import Exported, Progress, Sink
from backends.mounting import MountingBackend, detaching
from backends.options import Size
from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.records.guarded import Checked, GuardedRecords
from backends.snapshots import Snapshot
from backends.tree import findings, image
from backends.tree.data import TreeData
from backends.tree.directory import DirectoryLayout, Limit, no_limit
from backends.tree.image import ImageLayout
from backends.tree.inspection import Inspection
from backends.tree.options import Layout, TreeOptions
from backends.tree.origin import Origin
from backends.tree.owners import TreeOwners
from backends.tree.reaper import Reaper
from backends.tree.removal import Removal
from backends.tree.reserve import Reserve
from backends.tree.reserved_records import ReservedRecords
from backends.tree.resize import Resize
from backends.tree.snapshots import TreeSnapshots
from backends.tree.source import Direct, Source, opened
from backends.tree.store import Store

T = TypeVar("T", bound=TreeOptions)

SWEPT_EVERY = 1000
"""Rounds of the keeper: some hours."""


class TreeBackend(MountingBackend[P, T], Generic[P, T]):
    """Everything but `capabilities`. Also Resizable, Trash, Snapshots and Tidies. A subclass that
    does not reach its data directly brings a `source`; `limit` is called for every new plain
    directory with a size, `guard` wraps the records."""

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
        removal = Removal(self.store, self.source, self._staging, self.reaper)
        origin = Origin(self.source, self.get)
        directory = DirectoryLayout(self.store, self.source, self._staging, origin, removal, limit)
        self._image = ImageLayout(
            self.store, self.source, self._staging, context.node, origin, self._freezer
        )
        self._data = TreeData({Layout.DIRECTORY: directory, Layout.IMAGE: self._image}, removal)
        self._inspection = Inspection(self.source, self._image)
        self._reserve = Reserve(store.root / "reserve")
        self._files = DirectoryRecords(self.store.records)
        records = GuardedRecords(
            ReservedRecords(self._files, self._reserve),
            Checked(self.check),
        )
        self._keep_in(guard(records), self._data, settle=_settled)
        self._mount_as(
            TreeOwners(self.source, self._image),
            TreeSnapshots(
                self.store,
                self.source,
                removal,
                {Layout.DIRECTORY: directory, Layout.IMAGE: self._image},
                context.node,
            ),
        )
        self._opening = threading.Lock()
        self._opened = False
        self._sweep_in = 0

    def remove(self, volume: Volume[T]) -> Removed:
        remove = super().remove
        return self._reserve.spend(lambda: remove(volume))

    def purge(self, uuid: str) -> None:
        purge = super().purge
        self._reserve.spend(lambda: purge(uuid))

    def _reached(self, volume: Volume[T], claim: Claim | None) -> AbstractContextManager[None]:
        return opened(self.source, volume.uuid)

    def _mount(
        self, volume: Volume[T], target: Path, *, claim: Claim | None, read_only: bool
    ) -> None:
        self._data.layout(volume).mount(volume, target, read_only=read_only)

    def detach(self, attachment: Attachment) -> None:
        with explained(f"detach volume {attachment.name}"):
            attachment = self._mounted.as_shown(attachment)
            detaching.unmount(attachment, self._mounted.shows(attachment.uuid))
            detaching.await_release(attachment, lambda: self._released(attachment))
            self.source.close(attachment.uuid)

    def usage(self, attachment: Attachment) -> Usage:
        """Of an image; what a plain directory holds would have to be counted."""
        if attachment.root != image.ROOT or loop.number_of(attachment.device) is None:
            return Usage(size=None, used=None)
        return super().usage(attachment)

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
        if volume.options.access is Access.SHARED and self.capabilities.everywhere:
            raise NotSupported(
                f"volume {volume.name} is shared: kedge cannot know whether another node writes to "
                "it; only volumes with access=single have snapshots here"
            )
        return super().snapshot_create(
            volume, name, created=created, attachment=attachment, claim=claim
        )

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

    def tidy(self) -> None:
        """What processes that were killed left of their records: rarely anything, so rarely."""
        if self._sweep_in == 0:
            self.check()
            self._files.sweep()
            self._sweep_in = SWEPT_EVERY
        self._sweep_in -= 1

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
