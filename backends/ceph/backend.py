"""The backend `ceph`: volumes in a Ceph cluster, as CephFS subvolumes or as RBD images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
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
    Removed,
    Spec,
    Usage,
    Volume,
)
from backends.ceph import findings
from backends.ceph.ceph_fuse import CephFuse
from backends.ceph.clients import ImageClients, SubvolumeClients, present
from backends.ceph.cluster import Cluster
from backends.ceph.data import CephData
from backends.ceph.disk import DiskLayout
from backends.ceph.filesystem import FilesystemLayout
from backends.ceph.gauge import Gauge
from backends.ceph.images import Images
from backends.ceph.kernel_ceph import KernelCeph
from backends.ceph.layout import Place
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.ceph.owners import CephOwners
from backends.ceph.pulse import Pulse
from backends.ceph.rbd_device import RbdDevice
from backends.ceph.rbd_fuse import RbdFuse
from backends.ceph.records import RadosRecords
from backends.ceph.sessions import Session, Sessions
from backends.ceph.snapshots import CephSnapshots
from backends.ceph.working import Workers
from backends.claims import Claim, Stale
from backends.errors import InUse, InvalidOptions, NotFound, NotSupported, Unavailable
from backends.host import loop
from backends.host.failures import explained
from backends.host.staging import Staging
from backends.host.waiting import moment
from backends.mounting import MountingBackend, detaching
from backends.options import Size
from backends.sizes import check_growth


class CephBackend(MountingBackend[CephSettings, CephOptions]):
    """See the package. Also Resizable, Trash, Snapshots, Fences and Tidies."""

    Settings: ClassVar[type[CephSettings]] = CephSettings
    Options: ClassVar[type[CephOptions]] = CephOptions

    def __init__(self, settings: CephSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.cluster = Cluster(settings)
        records = RadosRecords(self.cluster, new_id)
        self._sessions = Sessions(records)
        self._pulse = Pulse(self.cluster, self._sessions, moment)
        self._gauge = Gauge(settings.timeout)
        staging = Staging(context.state / "staging")
        place = Place(
            settings,
            self.cluster,
            records,
            self._sessions,
            staging,
            self._freezer,
            context.state,
            context.node,
            context.profile,
            self.get,
        )
        self._workers = Workers(place)
        self._data = CephData(
            {
                Layout.FILESYSTEM: FilesystemLayout(place, _subvolumes(place)),
                Layout.DISK: _disk(place, self._workers),
            }
        )
        self._keep_in(records, self._data, settle=self._settled)
        self._mount_as(
            CephOwners(tuple(self._data.layouts.values())), CephSnapshots(self._data, self._admit)
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(everywhere=True, access=frozenset(Access), fencing=Fencing.STORE)

    def create(self, spec: Spec[CephOptions]) -> Volume[CephOptions]:
        with explained(f"create volume {spec.name}"):
            spec = replace(spec, options=self._inherited(spec))
        problems = list(self._settled(spec.options).complaints(self.settings))
        if problems:
            raise InvalidOptions(f"volume {spec.name}", problems)
        return super().create(spec)

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

    def volumes(self) -> Sequence[Volume[CephOptions]]:
        found = super().volumes()
        self._pulse.beat()
        return found

    @contextmanager
    def _attaching(self, volume: Volume[CephOptions]) -> Iterator[None]:
        self._data.layout(volume).give_up(volume.uuid)
        yield

    @contextmanager
    def _reached(self, volume: Volume[CephOptions], claim: Claim | None) -> Iterator[None]:
        self._admit(volume, claim)
        yield

    def _mount(
        self, volume: Volume[CephOptions], target: Path, *, claim: Claim | None, read_only: bool
    ) -> None:
        epoch = claim.epoch if claim else 0
        self._data.layout(volume).mount(volume, target, read_only=read_only, epoch=epoch)

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
            attachment = self._mounted.as_shown(attachment)
            for layout in self._data.layouts_of(attachment):
                with suppress(Unavailable):
                    layout.give_up(attachment.uuid)
            detaching.unmount(attachment, self._mounted.shows(attachment.uuid))
            for layout in self._data.layouts_of(attachment):
                layout.release(attachment)

    def usage(self, attachment: Attachment) -> Usage:
        """Of an image: what its file system says. Of a subvolume: what lies below it."""
        if loop.number_of(attachment.device) is not None:
            return super().usage(attachment)
        with explained(f"measure volume {attachment.name}"):
            used = self._gauge.used(attachment.uuid, attachment.target)
            return Usage(size=self._catalog.get(attachment.name).options.size, used=used)

    def status(self, volume: Volume[CephOptions]) -> dict[str, str]:
        layout = self._data.layout(volume)
        pulse = self._pulse.shown(volume.uuid)
        return {"data": layout.where(volume), "carrier": layout.carrier(), **pulse}

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        volume = self._catalog.get(name)
        options = volume.options
        if options.size is None:
            raise NotSupported(f"volume {name} was made without a size")
        check_growth(name, options.size, size)
        with explained(f"resize volume {name}"):
            done = self._data.layout(volume).grow(volume, size, attachment)
            if size != options.size:
                self._catalog.resize(volume, replace(options, size=size))
            return Growth.ONLINE if done else Growth.NEXT_ATTACH

    def tidy(self) -> None:
        """What this service, or one before it on this node, was doing to an image and could not
        strike out: until then other nodes count it as a client."""
        with explained("tidy up"):
            self._workers.settle()

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
        others = [one for one in clients if one.node != self.context.node]
        if nodes := _named(one for one in others if not one.work):
            raise InUse(
                f"volume {volume.name} is in use on node {nodes}; stop its containers "
                f"there, or run `kedge takeover {volume.name}` if that node is dead"
            )
        if nodes := _named(others):
            raise InUse(
                f"kedge on node {nodes} is changing volume {volume.name}, or died while it was; "
                f"try again in half a minute, or run `kedge takeover {volume.name}` if that node "
                "is dead"
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


def _named(sessions: Iterable[Session]) -> str:
    """Their nodes, for people."""
    return ", ".join(sorted({one.node for one in sessions}))


def _subvolumes(place: Place) -> SubvolumeClients:
    settings = place.settings
    return SubvolumeClients(
        CephFuse(place), KernelCeph(place), lambda: present().filesystem(settings)
    )


def _disk(place: Place, workers: Workers) -> DiskLayout:
    settings = place.settings
    clients = ImageClients(RbdFuse(place), RbdDevice(place), lambda: present().disk(settings))
    return DiskLayout(place, Images(place.cluster, workers.on), clients, workers)
