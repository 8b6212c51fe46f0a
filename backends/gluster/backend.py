"""The backend `gluster`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from backends.ambient import new_id
from backends.base import (
    Access,
    Attachment,
    Capabilities,
    Context,
    Fencing,
    Finding,
    Growth,
    Level,
    Usage,
)
from backends.errors import KedgeError
from backends.gluster import databases, doctor, pool
from backends.gluster.client import TYPE, Export
from backends.gluster.clients import Clients
from backends.gluster.control import Control
from backends.gluster.in_time import InTime, in_time
from backends.gluster.options import GlusterOptions, GlusterSettings
from backends.gluster.quota import Quota
from backends.host import mountinfo
from backends.host.failures import explained
from backends.options import Size
from backends.records.guarded import GuardedRecords
from backends.sizes import check_shrinking
from backends.tree.backend import TreeBackend
from backends.tree.options import Layout
from backends.tree.store import Store


class GlusterBackend(TreeBackend[GlusterSettings, GlusterOptions]):
    """See the package. Also SelfFencing."""

    Settings: ClassVar[type[GlusterSettings]] = GlusterSettings
    Options: ClassVar[type[GlusterOptions]] = GlusterOptions

    def __init__(self, settings: GlusterSettings, context: Context) -> None:
        export = Export(settings.servers, settings.volume)
        seconds, state = settings.patience, context.state
        flags = [f"--{option}" for option in settings.mount_options]
        if settings.for_databases:
            flags += databases.flags()
        home = f"{settings.subdirectory}/volumes"
        self.control = Control(export, settings.subdirectory, state / "control", seconds)
        self.clients = Clients(export, home, state / "clients", flags, seconds)
        self._quota = Quota(export, home, state / "quota", self._facts, seconds)
        self._where = str(export)
        super().__init__(
            settings,
            context,
            Store(self.control.root, state, new_id),
            source=self.clients,
            limit=self._quota.limit,
            guard=lambda records: GuardedRecords(
                records, InTime(self._where, 2 * seconds, self.control.replace)
            ),
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(everywhere=True, access=frozenset(Access), fencing=Fencing.NODE)

    def check(self) -> None:
        self.control.ensure()
        super().check()

    def cut_off(self, attachment: Attachment) -> None:
        with explained(f"cut off volume {attachment.name}"):
            self.clients.cut_off(attachment.uuid)

    def usage(self, attachment: Attachment) -> Usage:
        """Of an image, and of a directory with a quota, which shows as a smaller file system."""
        if not self._is_plain(attachment):
            return super().usage(attachment)
        with explained(f"measure volume {attachment.name}"):
            here, whole = in_time(
                self._where,
                self.settings.patience,
                lambda: (os.statvfs(attachment.target), os.statvfs(self.control.root)),
            )
        if here.f_blocks == whole.f_blocks:
            return Usage(size=None, used=None)
        size = here.f_blocks * here.f_frsize
        return Usage(size=size, used=size - here.f_bfree * here.f_frsize)

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        """An image grows; the quota of a directory is set anew, at once."""
        volume = self.get(name)
        old = volume.options.size
        if old is None or volume.options.settled().layout is not Layout.DIRECTORY:
            return super().resize(name, size, attachment)
        check_shrinking(name, old, size)
        with explained(f"resize volume {name}"):
            self._quota.limit(volume.uuid, size)
            self._catalog.resize(volume, replace(volume.options, size=size))
        return Growth.ONLINE

    def findings(self) -> Sequence[Finding]:
        subject = f"pool {self._where}"
        try:
            asked = self.settings.for_databases
            found = list(doctor.findings(self.settings.volume, self._facts(), subject, asked))
        except KedgeError as error:
            found = [Finding(Level.WARNING, subject, str(error), "its options were not checked")]
        found += doctor.fence("fence of this node")
        try:
            self.check()
            return [*found, *in_time(self._where, self.settings.patience, super().findings)]
        except KedgeError as error:
            return [Finding(Level.ERROR, subject, str(error)), *found]

    def _facts(self) -> pool.Facts:
        settings = self.settings
        return pool.ask(settings.servers, settings.volume, settings.patience)

    def _is_plain(self, attachment: Attachment) -> bool:
        mount = next((m for m in mountinfo.read() if m.device == attachment.device), None)
        return mount is not None and mount.type == TYPE
