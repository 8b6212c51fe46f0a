"""The backend `ceph`: volumes in a Ceph cluster, as CephFS subvolumes or as RBD images."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
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
from backends.ceph import findings
from backends.ceph.ceph_fuse import CephFuse
from backends.ceph.clients import ImageClients, SubvolumeClients, present
from backends.ceph.cluster import Cluster
from backends.ceph.data import CephData
from backends.ceph.disk import DiskLayout
from backends.ceph.disk_snapshots import frozen
from backends.ceph.filesystem import FilesystemLayout
from backends.ceph.images import Images
from backends.ceph.kernel_ceph import KernelCeph
from backends.ceph.layout import Place
from backends.ceph.mounted import Mounted
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.ceph.pulse import Pulse
from backends.ceph.rbd_device import RbdDevice
from backends.ceph.rbd_fuse import RbdFuse
from backends.ceph.records import RadosRecords
from backends.ceph.sessions import Session, Sessions
from backends.claims import Claim, Stale
from backends.errors import InUse, Invalid, InvalidOptions, NotFound, NotSupported, Unavailable
from backends.host import loop
from backends.host.failures import explained
from backends.host.waiting import moment
from backends.options import Size
from backends.records import Records
from backends.snapshots import Snapshot
from backends.tree import detaching
from backends.tree.staging import Staging


class CephBackend(Backend[CephSettings, CephOptions]):
    """See the package. Also Resizable, Trash, Snapshots and Fences."""

    Settings: ClassVar[type[CephSettings]] = CephSettings
    Options: ClassVar[type[CephOptions]] = CephOptions

    def __init__(self, settings: CephSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.cluster = Cluster(settings)
        self._records = RadosRecords(self.cluster, new_id)
        self._sessions = Sessions(self._records)
        self._pulse = Pulse(self.cluster, self._sessions, moment)
        staging = Staging(context.state / "staging")
        place = Place(
            settings,
            self.cluster,
            self._records,
            self._sessions,
            staging,
            context.state,
            context.node,
            context.profile,
            self.get,
        )
        self._data = CephData(
            {
                Layout.FILESYSTEM: FilesystemLayout(place, _subvolumes(place)),
                Layout.DISK: DiskLayout(place, Images(self.cluster), _images(place)),
            }
        )
        self._catalog = Catalog(
            self._records, CephOptions, self._data, now=utc_now, settle=self._settled
        )
        self._thawed = False
        self._mounted = Mounted(tuple(self._data.layouts.values()), context.mounts)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(everywhere=True, access=frozenset(Access), fencing=Fencing.STORE)

    @property
    def records(self) -> Records:
        return self._records

    def create(self, spec: Spec[CephOptions]) -> Volume[CephOptions]:
        with explained(f"create volume {spec.name}"):
            spec = replace(spec, options=self._inherited(spec))
        problems = list(self._settled(spec.options).complaints(self.settings))
        if problems:
            raise InvalidOptions(f"volume {spec.name}", problems)
        with explained(f"create volume {spec.name}"):
            return self._catalog.create(spec)

    def remove(self, volume: Volume[CephOptions]) -> Removed:
        """InUse, with nothing done, while another node has clients of the volume."""
        with explained(f"remove volume {volume.name}"):
            try:
                current = self._catalog.get(volume.name)
            except NotFound:
                current = None
            if current is not None and current.uuid == volume.uuid:
                clients = self._data.layout(current).clients(current.uuid)
                self._refuse_others(current, clients)
            return self._catalog.remove(volume)

    def get(self, name: str) -> Volume[CephOptions]:
        return self._catalog.get(name)

    def volumes(self) -> Sequence[Volume[CephOptions]]:
        found = self._catalog.volumes()
        self._pulse.beat()
        return found

    def attach(
        self,
        volume: Volume[CephOptions],
        target: Path,
        *,
        claim: Claim | None,
        read_only: bool = False,
    ) -> Attachment:
        current = self._catalog.get(volume.name)
        if current.uuid != volume.uuid:
            raise NotFound(f"volume {volume.name!r} was replaced by another of the same name")
        with explained(f"attach volume {volume.name}"):
            self._data.layout(current).give_up(current.uuid)
            if (shown := self._mounted.usable(current, target)) is not None:
                return shown
            self._admit(current, claim)
            epoch = claim.epoch if claim else 0
            with self._mounted.place(target):
                layout = self._data.layout(current)
                layout.mount(current, target, read_only=read_only, epoch=epoch)
                return self._mounted.proof(current, target)

    def fence_facts(self, volume: Volume[CephOptions]) -> Mapping[str, str]:
        """Who we are: our clients' addresses are written down beside the data, one by one."""
        return {"node": self.context.node}

    def fence(self, volume: Volume[CephOptions], stale: Sequence[Stale]) -> None:
        """As Fences.fence says. Fenced, with nobody shut out, when a later claim has done this."""
        if stale:
            self._shut_out(volume, max(one.epoch for one in stale) + 1)

    def _shut_out(self, volume: Volume[CephOptions], epoch: int) -> None:
        """Everybody but a client of our own that is well; see `sessions` for the order."""
        layout = self._data.layout(volume)
        layout.tidy(volume.uuid)
        clients = layout.clients(volume.uuid)
        self._sessions.take(volume.uuid, epoch)
        layout.shut_out(volume.uuid, clients)

    def detach(self, attachment: Attachment) -> None:
        with explained(f"detach volume {attachment.name}"):
            shown = self._mounted.at(attachment.target)
            if shown is not None and shown.uuid == attachment.uuid:
                attachment = shown
            for layout in self._data.layouts_of(attachment):
                with suppress(Unavailable):
                    layout.give_up(attachment.uuid)
            detaching.unmount(attachment, self._mounted.shows(attachment.uuid))
            for layout in self._data.layouts_of(attachment):
                layout.release(attachment)

    def attachments(self) -> Sequence[Attachment]:
        with explained("read the mount table"):
            found = self._mounted.all()
            if not self._thawed:
                frozen(self.context.state).recover({one.uuid: one.target for one in found})
                self._thawed = True
            return found

    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        with explained("read the process table"):
            return detaching.holding(attachments)

    def usage(self, attachment: Attachment) -> Usage:
        """Of an image: what its file system says. Of a subvolume: what lies below it."""
        with explained(f"measure volume {attachment.name}"):
            if loop.number_of(attachment.device) is None:
                used = int(os.getxattr(attachment.target, "ceph.dir.rbytes"))
                return Usage(size=self._catalog.get(attachment.name).options.size, used=used)
            facts = os.statvfs(attachment.target)
        size = facts.f_blocks * facts.f_frsize
        return Usage(size=size, used=size - facts.f_bfree * facts.f_frsize)

    def status(self, volume: Volume[CephOptions]) -> dict[str, str]:
        layout = self._data.layout(volume)
        pulse = self._pulse.shown(volume.uuid)
        return {"data": layout.where(volume), "carrier": layout.carrier(), **pulse}

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        volume = self._catalog.get(name)
        options = volume.options
        if options.size is None:
            raise NotSupported(f"volume {name} was made without a size")
        if size < options.size:
            raise Invalid(f"volume {name} has {options.size}; it cannot shrink to {size}")
        if size % 4096:
            raise Invalid(f"{size} is not a multiple of 4096 bytes")
        with explained(f"resize volume {name}"):
            done = self._data.layout(volume).grow(volume, size, attachment)
            if size != options.size:
                self._catalog.resize(volume, replace(options, size=size))
            return Growth.ONLINE if done else Growth.NEXT_ATTACH

    def snapshot_create(
        self,
        volume: Volume[CephOptions],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        with explained(f"take snapshot {name} of volume {volume.name}"):
            layout = self._data.layout(volume)
            layout.snapshots.create(volume, name, created, attachment)
            return next(one for one in layout.snapshots.all(volume).values() if one.name == name)

    def snapshot_list(self, volume: Volume[CephOptions]) -> Sequence[Snapshot]:
        with explained(f"list the snapshots of volume {volume.name}"):
            return list(self._data.layout(volume).snapshots.all(volume).values())

    def snapshot_remove(
        self, volume: Volume[CephOptions], name: str, *, claim: Claim | None
    ) -> None:
        with explained(f"remove snapshot {name} of volume {volume.name}"):
            self._data.layout(volume).snapshots.remove(volume, name)

    def snapshot_restore(
        self, volume: Volume[CephOptions], name: str, *, claim: Claim | None
    ) -> None:
        with explained(f"bring volume {volume.name} back to snapshot {name}"):
            self._admit(volume, claim)
            epoch = claim.epoch if claim else 0
            self._data.layout(volume).snapshots.restore(volume, name, epoch)

    def trashed(self) -> Sequence[Trashed]:
        return self._catalog.trashed()

    def restore(self, uuid: str, name: str) -> None:
        self._catalog.restore(uuid, name)

    def purge(self, uuid: str) -> None:
        with explained(f"purge {uuid}"):
            self._catalog.purge(uuid)

    def findings(self) -> Sequence[Finding]:
        return findings.of(self.cluster, self._catalog, self._mounted)

    def _admit(self, volume: Volume[CephOptions], claim: Claim | None) -> None:
        """Shut everybody else out if that is our right, else refuse if there is anybody. What a
        crash left of our own clients is always shut out: its locks would hold us up."""
        single = volume.options.access is Access.SINGLE
        if single and claim is not None:
            self._shut_out(volume, claim.epoch)
            return
        layout = self._data.layout(volume)
        layout.tidy(volume.uuid)
        clients = layout.clients(volume.uuid)
        if single:
            self._refuse_others(volume, clients)
        own = [one for one in clients if one.node == self.context.node]
        layout.shut_out(volume.uuid, own)

    def _refuse_others(self, volume: Volume[CephOptions], clients: Sequence[Session]) -> None:
        nodes = sorted({one.node for one in clients} - {self.context.node})
        if nodes:
            raise InUse(
                f"volume {volume.name} is in use on node {', '.join(nodes)}; stop its containers "
                f"there, or run `kedge takeover {volume.name}` if that node is dead"
            )

    def _inherited(self, spec: Spec[CephOptions]) -> CephOptions:
        """What a clone leaves out is as in its source; when that is gone, as in the clone."""
        if spec.options.from_ is None:
            return spec.options
        for name in (spec.name, spec.options.from_.volume):
            with suppress(NotFound):
                known = self._catalog.get(name).options
                if name != spec.name or known.from_ == spec.options.from_:
                    return spec.options.inherited(known)
        return spec.options

    def _settled(self, options: CephOptions) -> CephOptions:
        return options.settled(self.settings)


def _subvolumes(place: Place) -> SubvolumeClients:
    settings = place.settings
    return SubvolumeClients(
        CephFuse(place), KernelCeph(place), lambda: present().filesystem(settings)
    )


def _images(place: Place) -> ImageClients:
    settings = place.settings
    return ImageClients(RbdFuse(place), RbdDevice(place), lambda: present().disk(settings))
