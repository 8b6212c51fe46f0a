"""The backend `s3`: catalog and claims as records in the bucket, each volume a disk in it."""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

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
    Level,
    Occupant,
    Removed,
    Spec,
    Trashed,
    Usage,
    Volume,
)
from backends.catalog import Catalog
from backends.claims import Claim, Stale
from backends.disk.fuse.layer import ROOT
from backends.disk.fuse.path import DataPath
from backends.disk.head import Heads
from backends.disk.remote import Bucket, bucket_store
from backends.disk.unlocking import rewrap
from backends.errors import HostError, Invalid, KedgeError, NotFound, Unavailable
from backends.host import loop, mountinfo, mounts, targets
from backends.host.bounded import Bounded
from backends.host.failures import explained
from backends.host.freezing import Freezer
from backends.inspection import Exported, Orphan, Progress, Sink
from backends.options import Size
from backends.records import Records
from backends.records.guarded import Checked, GuardedRecords
from backends.records.store import StoreRecords
from backends.s3 import health
from backends.s3.disks import CLOSE_SECONDS, Disks, label
from backends.s3.doctor import examined
from backends.s3.inspection import Inspection
from backends.s3.options import S3Options, S3Settings
from backends.s3.snapshots import DiskSnapshots
from backends.s3.tidying import Tidying
from backends.snapshots import Snapshot
from backends.stores.probe import probe
from backends.tree import detaching

_LAG_SECONDS = 1.0


class S3Backend(Backend[S3Settings, S3Options]):
    """Also Resizable, Trash, Fences, Snapshots, Checkable, Exportable, Orphans, Rewrappable,
    Tidies."""

    Settings: ClassVar[type[S3Settings]] = S3Settings
    Options: ClassVar[type[S3Options]] = S3Options

    def __init__(self, settings: S3Settings, context: Context) -> None:
        super().__init__(settings, context)
        bucket = Bucket(
            bucket=settings.bucket,
            prefix=settings.prefix,
            endpoint=settings.endpoint or "",
            region=settings.region or "",
            credentials=str(settings.credentials or ""),
            path_style=settings.path_style,
            ca_file=str(settings.ca_file or ""),
            storage_class=settings.storage_class or "",
        )
        self._store = bucket_store(bucket)
        self._records = GuardedRecords(StoreRecords(self._store), Checked(self._check))
        keys = str(settings.keys or "")
        self._disks = Disks(bucket, self._store, Heads(self._records), context, self.get, keys)
        self._thawed = False
        self._freezer = Freezer(context.state / "frozen")
        self._snapshots = DiskSnapshots(self._disks, self._freezer)
        self._catalog = Catalog(self._records, S3Options, self._disks, now=utc_now)
        self._tidying = Tidying(self._disks)
        self._listed: frozenset[str] | None = None
        """The uuids of all volumes, when they were listed last."""
        self._said: dict[str, dict[str, str]] = {}
        """What the disks that are open here said last, for Status, which asks nobody."""
        self._probing = threading.Lock()
        self._probed = False

    @property
    def capabilities(self) -> Capabilities:
        fencing = Fencing.NONE if self.settings.single_node else Fencing.STORE
        everywhere = not self.settings.single_node
        return Capabilities(everywhere, frozenset({Access.SINGLE}), fencing)

    @property
    def records(self) -> Records:
        return self._records

    def create(self, spec: Spec[S3Options]) -> Volume[S3Options]:
        with explained(f"create volume {spec.name}"):
            return self._catalog.create(spec)

    def remove(self, volume: Volume[S3Options]) -> Removed:
        with explained(f"remove volume {volume.name}"):
            return self._catalog.remove(volume)

    def get(self, name: str) -> Volume[S3Options]:
        return self._catalog.get(name)

    def volumes(self) -> Sequence[Volume[S3Options]]:
        found = self._catalog.volumes()
        self._listed = frozenset(volume.uuid for volume in found)
        return found

    def tidy(self) -> None:
        if self._listed is not None:
            with explained("tidy up"):
                self._tidying.round(self._listed)

    def attach(
        self,
        volume: Volume[S3Options],
        target: Path,
        *,
        claim: Claim | None,
        read_only: bool = False,
    ) -> Attachment:
        current = self._catalog.get(volume.name)
        if current.uuid != volume.uuid:
            raise NotFound(f"volume {volume.name!r} was replaced by another of the same name")
        with explained(f"attach volume {volume.name}"), self._disks.locked(volume.uuid):
            if (shown := self._usable(current, target)) is not None:
                return shown
            if not _held(current.uuid, self.context.node):
                self._disks.close(current.uuid, current.name)
            self._disks.open(current, claim.epoch if claim else None)
            try:
                with targets.prepared(target):
                    self._mount(current, target, read_only)
                    return self._proof(current, target)
            except BaseException:
                with suppress(KedgeError):
                    self._disks.close(current.uuid, current.name)
                raise

    def detach(self, attachment: Attachment) -> None:
        uuid = attachment.uuid
        with explained(f"detach volume {attachment.name}"), self._disks.locked(uuid):
            volume = Volume(attachment.name, uuid, "", S3Options())
            self._said.pop(uuid, None)
            _unmount(attachment, self.context.node)
            detaching.await_release(attachment, lambda: not _held(uuid, self.context.node))
            self._disks.layer(volume).release(CLOSE_SECONDS)
            self._disks.close(uuid, attachment.name)

    def attachments(self) -> Sequence[Attachment]:
        with explained("read the mount table"):
            table = mountinfo.read()
            above = os.path.realpath(self.context.mounts)
            points = sorted({m.point for m in table if os.path.dirname(m.point) == above})
            tops = [mountinfo.top(table, point) for point in points]
            found = [
                self._attachment(top)
                for top in tops
                if top is not None and _owner(top, self.context.node)
            ]
            if not self._thawed:
                self._freezer.recover({one.uuid: one.target for one in found})
                self._thawed = True
            return found

    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        with explained("read the process table"):
            return detaching.holding(attachments)

    def usage(self, attachment: Attachment) -> Usage:
        with explained(f"measure volume {attachment.name}"):
            facts = os.statvfs(attachment.target)
        self._note(attachment)
        size = facts.f_blocks * facts.f_frsize
        return Usage(size=size, used=size - facts.f_bfree * facts.f_frsize)

    def status(self, volume: Volume[S3Options]) -> dict[str, str]:
        return {"data": self._disks.where(volume), **self._said.get(volume.uuid, {})}

    def _note(self, attachment: Attachment) -> None:
        path = self._disks.path(attachment.uuid, attachment.name)
        try:
            said = health.shown(path.call("lag", seconds=_LAG_SECONDS))
        except KedgeError as error:
            said = {"trouble": f"the server of the disk does not answer: {error.message}"}
        self._said[attachment.uuid] = said

    def lag(self, volume: Volume[S3Options]) -> Mapping[str, Any]:
        """What of an attached volume is not in the bucket yet. Unavailable: not attached here."""
        path = self._disks.path(volume.uuid, volume.name)
        found: Mapping[str, Any] = path.call("lag", seconds=_LAG_SECONDS)
        return found

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        volume = self._catalog.get(name)
        if size < volume.options.size:
            raise Invalid(f"volume {name} has {volume.options.size}; it cannot shrink to {size}")
        if size % 4096:
            raise Invalid(f"size={size} is not a multiple of 4096 bytes")
        with explained(f"resize volume {name}"):
            self._disks.heads.grow(volume.uuid, size)
            volume = self._catalog.amend(volume, lambda has: replace(has, size=max(size, has.size)))
            if attachment is None:
                return Growth.NEXT_ATTACH
            grown = self._disks.layer(volume).grow(attachment.target, size, CLOSE_SECONDS)
        return Growth.ONLINE if grown else Growth.NEXT_ATTACH

    def snapshot_create(
        self,
        volume: Volume[Any],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        with explained(f"take snapshot {name} of volume {volume.name}"):
            return self._snapshots.create(
                volume, name, created=created, attachment=attachment, claim=claim
            )

    def snapshot_list(self, volume: Volume[Any]) -> Sequence[Snapshot]:
        return self._snapshots.all(volume)

    def snapshot_remove(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        self._snapshots.remove(volume, name)

    def snapshot_restore(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        with explained(f"bring volume {volume.name} back to {name}"):
            self._snapshots.restore(volume, name, claim)

    def rewrap(self, volume: Volume[Any], key: str) -> None:
        with explained(f"change the key of volume {volume.name}"):
            rewrap(self._disks.heads, volume.uuid, self._disks.keys, key)
            self._catalog.amend(volume, lambda has: replace(has, encrypt=key))

    def trashed(self) -> Sequence[Trashed]:
        return self._catalog.trashed()

    def restore(self, uuid: str, name: str) -> None:
        self._catalog.restore(uuid, name)

    def purge(self, uuid: str) -> None:
        with explained(f"purge {uuid}"):
            self._catalog.purge(uuid)

    def fence_facts(self, volume: Volume[Any]) -> Mapping[str, str]:
        """Nothing but a name for people: the fence is made in the log, not at a client."""
        return {"node": self.context.node}

    def fence(self, volume: Volume[Any], stale: Sequence[Stale]) -> None:
        """Done by `attach`, which makes its fence before it reads a block: what a stale writer
        gets into the log before that is part of what is read, what comes later is refused."""

    def fsck(
        self, volume: Volume[S3Options], progress: Progress, *, attached: bool
    ) -> Sequence[Finding]:
        return Inspection(self._disks).fsck(volume, progress)

    def export(
        self, volume: Volume[S3Options], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        return Inspection(self._disks).export(volume, snapshot, to, progress)

    def orphans(self, volume: Volume[S3Options]) -> Sequence[Orphan]:
        return Inspection(self._disks).orphans(volume)

    def export_orphan(
        self, volume: Volume[S3Options], name: str, to: Sink, progress: Progress
    ) -> Exported:
        return Inspection(self._disks).export_orphan(volume, name, to, progress)

    def findings(self) -> Sequence[Finding]:
        found = list(examined(self.settings, self._disks.bucket))
        if any(one.level is Level.ERROR for one in found):
            return found
        subject = f"bucket {self.settings.bucket}"
        try:
            self._check()
            damaged = self._catalog.damaged()
            found += [self._verdict(subject), *self._here()]
        except KedgeError as error:
            advice = "another store, or single_node=true if no other node uses this prefix"
            return [*found, Finding(Level.ERROR, subject, error.message, advice)]
        return [*found, *(Finding(Level.ERROR, "catalog", e.message) for e in damaged)]

    def _verdict(self, subject: str) -> Finding:
        if not self.settings.single_node:
            return Finding(Level.OK, subject, "conditional writes work, also in a race")
        detail = "used by this node only (single_node=true): nothing keeps another one out"
        return Finding(Level.WARNING, subject, detail, "never use its prefix from another node")

    def _here(self) -> list[Finding]:
        """What is to be said of volumes that are or were attached on this node."""
        found: list[Finding] = []
        for attachment in self.attachments():
            volume = self._catalog.get(attachment.name)
            try:
                found += health.judged(volume.name, self.lag(volume), volume.options.rpo)
            except KedgeError as error:
                detail = f"its server does not answer: {error.message}"
                found.append(Finding(Level.ERROR, f"volume {volume.name}", detail, "see its log"))
        for volume in self._catalog.volumes():
            kept = self.orphans(volume)
            if kept:
                detail = f"{len(kept)} orphans of it are kept here"
                advice = f"kedge orphans {volume.name}; export what you need of them"
                found.append(Finding(Level.WARNING, f"volume {volume.name}", detail, advice))
        return found

    def _check(self) -> None:
        """The first time: is the store one that can be trusted with several nodes?"""
        with self._probing:
            if self._probed or self.settings.single_node:
                return
            verdict = probe(self._store, new_id)
            if not verdict.conditional:
                raise Invalid(
                    f"the store of bucket {self.settings.bucket} cannot be used by several nodes: "
                    f"{'; '.join(verdict.faults)}; use another store, or set single_node=true"
                )
            self._probed = True

    def _usable(self, volume: Volume[S3Options], target: Path) -> Attachment | None:
        """The healthy attachment at `target`. A dead one is taken away; HostError for others."""
        top = mountinfo.top(mountinfo.read(), os.path.realpath(target))
        if top is None:
            return None
        if _owner(top, self.context.node) != volume.uuid:
            raise HostError(f"something else is mounted at {target} ({top.type}); unmount it")
        if (shown := self._attachment(top)).healthy:
            return shown
        mounts.unmount(target, lazily=True)
        return None

    def _mount(self, volume: Volume[S3Options], target: Path, read_only: bool) -> None:
        layer = self._disks.layer(volume)
        layer.mount(target, read_only=read_only, size=volume.options.size)

    def _proof(self, volume: Volume[S3Options], target: Path) -> Attachment:
        for shown in self.attachments():
            if (shown.uuid, shown.target, shown.healthy) == (volume.uuid, target, True):
                return shown
        raise HostError(f"{target} does not show volume {volume.name} although it was mounted")

    def _mend(self, path: DataPath) -> None:
        """Give a server whose holder was killed a new one; who looks at attachments does it, and
        the keeper looks all the time. Not possible just now: tried with the next look."""
        with suppress(KedgeError):
            if path.held() is None:
                path.adopt()

    def _attachment(self, mount: mountinfo.Mount) -> Attachment:
        name, uuid = os.path.basename(mount.point), _owner(mount, self.context.node)
        path = self._disks.path(uuid, name)
        stopped = {"ro", "shutdown", "emergency_ro"} & mount.super_options
        healthy = path.alive() and not stopped
        if healthy:
            self._mend(path)
        target = self.context.mounts / name
        return Attachment(name, uuid, target, mount.device, mount.root, healthy)


def _unmount(attachment: Attachment, node: str) -> None:
    """Unmount what is this volume's, and nothing that stands at its place by now. It goes on, if
    that takes longer, because the disk takes no writes."""
    call = Bounded(
        lambda: detaching.unmount(attachment, lambda m: _owner(m, node) == attachment.uuid)
    )
    if not call.done(CLOSE_SECONDS):
        raise Unavailable(
            f"volume {attachment.name} is not unmounted within {CLOSE_SECONDS:.0f} s, because its "
            "disk takes no writes: its log is full and the bucket is away; it is still being tried"
        )


def _owner(mount: mountinfo.Mount, node: str) -> str:
    """The uuid of the volume that a mount shows; empty when it is none of this node's."""
    number = loop.number_of(mount.device)
    found = loop.status(number) if number is not None and mount.root == ROOT else None
    if found is None:
        return ""
    uuid = found.label.removeprefix("kedge:").partition(":")[0]
    return uuid if found.label == label(uuid, node) else ""


def _held(uuid: str, node: str) -> bool:
    """Whether a loop device of the volume is still in use by somebody. Only those whose file may
    be the volume's disk are asked: another's storage may hang."""
    for number in loop.numbers():
        if f"{uuid}.fuse/" in loop.backing_file(number):
            found = loop.status(number)
            if found is not None and found.label == label(uuid, node):
                return True
    return False
