"""The backend `local`: volumes below one root, as directories or as images."""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from backends.ambient import new_id, utc_now
from backends.base import (
    Access,
    Attachment,
    Backend,
    Capabilities,
    Context,
    Fencing,
    Finding,
    Growth,
    Occupant,
    Removed,
    Spec,
    Trashed,
    Usage,
    Volume,
)
from backends.catalog import Catalog
from backends.claims import Claim
from backends.errors import NotFound
from backends.host import loop, mountinfo, targets
from backends.host.failures import explained
from backends.local import detaching, findings, image
from backends.local.checked_records import CheckedRecords
from backends.local.data import LocalData
from backends.local.directory import DirectoryLayout
from backends.local.image import ImageLayout
from backends.local.mounted import Mounted
from backends.local.options import Layout, LocalOptions, LocalSettings, Shared
from backends.local.reaper import Reaper
from backends.local.removal import Removal
from backends.local.resize import Resize
from backends.local.staging import Staging
from backends.local.store import Store, is_network
from backends.options import Size
from backends.records import Records
from backends.records_directory import DirectoryRecords


class LocalBackend(Backend[LocalSettings, LocalOptions]):
    """See the package. Also Resizable and Trash."""

    Settings: ClassVar[type[LocalSettings]] = LocalSettings
    Options: ClassVar[type[LocalOptions]] = LocalOptions

    def __init__(self, settings: LocalSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.store = Store(settings.root, context.state, new_id)
        self.reaper = Reaper(self.store.volumes)
        self._staging = Staging(context.state / "staging")
        self._directory = DirectoryLayout(self.store, self._staging)
        self._image = ImageLayout(self.store, self._staging, context.node)
        self._data = LocalData(
            {Layout.DIRECTORY: self._directory, Layout.IMAGE: self._image},
            Removal(self.store, self._staging, self.reaper),
        )
        self._records = CheckedRecords(lambda: DirectoryRecords(self.store.records), self._check)
        self._catalog = Catalog(
            self._records, LocalOptions, self._data, now=utc_now, settle=LocalOptions.settled
        )
        self._mounted = Mounted(self.store, self._directory, self._image, context.mounts)
        self._opening = threading.Lock()
        self._opened = False

    @cached_property
    def capabilities(self) -> Capabilities:
        """A root that other nodes see too makes the volumes visible everywhere, and nothing keeps
        a stale node from writing to it."""
        shared = self.settings.shared is Shared.YES or (
            self.settings.shared is Shared.AUTO and is_network(self.store.below(mountinfo.read()))
        )
        fencing = Fencing.ADVISORY if shared else Fencing.NONE
        return Capabilities(everywhere=shared, access=frozenset(Access), fencing=fencing)

    @property
    def records(self) -> Records:
        return self._records

    def create(self, spec: Spec[LocalOptions]) -> Volume[LocalOptions]:
        with explained(f"create volume {spec.name}"):
            return self._catalog.create(spec)

    def remove(self, volume: Volume[LocalOptions]) -> Removed:
        with explained(f"remove volume {volume.name}"):
            return self._catalog.remove(volume)

    def get(self, name: str) -> Volume[LocalOptions]:
        return self._catalog.get(name)

    def volumes(self) -> Sequence[Volume[LocalOptions]]:
        return self._catalog.volumes()

    def attach(
        self,
        volume: Volume[LocalOptions],
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
            with targets.prepared(target):
                self._data.layout(current).mount(current, target, read_only=read_only)
                return self._mounted.proof(current, target)

    def detach(self, attachment: Attachment) -> None:
        with explained(f"detach volume {attachment.name}"):
            for shown in self._mounted.all():
                if (shown.uuid, shown.target) == (attachment.uuid, attachment.target):
                    attachment = shown
            detaching.unmount(attachment)
            detaching.await_release(attachment, lambda: self._released(attachment))

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

    def status(self, volume: Volume[LocalOptions]) -> dict[str, str]:
        return {"data": self._data.where(volume)}

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        volume = self._catalog.get(name)
        with explained(f"resize volume {name}"):
            grow = Resize(self._image, self._catalog)
            return grow(volume, size, attachment)

    def trashed(self) -> Sequence[Trashed]:
        return self._catalog.trashed()

    def restore(self, uuid: str, name: str) -> None:
        self._catalog.restore(uuid, name)

    def purge(self, uuid: str) -> None:
        with explained(f"purge {uuid}"):
            self._catalog.purge(uuid)

    def findings(self) -> Sequence[Finding]:
        return findings.of(self.store, self.reaper, self._catalog, self._mounted)

    def _check(self) -> None:
        """The root is the right one; the first time, what a crash left is taken away."""
        self.store.check()
        with self._opening:
            if self._opened:
                return
            with explained(f"tidy up {self.context.state}"):
                self._staging.sweep()
            self.reaper.start()
            self._opened = True

    def _released(self, attachment: Attachment) -> bool:
        """Whether nobody outside holds the data of an attachment that is unmounted here."""
        number = loop.number_of(attachment.device) if attachment.device else None
        if number is not None and attachment.root == image.ROOT:
            return not self._image.holds(number, attachment.uuid)
        return not detaching.holding([attachment])
