"""The backend `s3`: catalog and claims as records in the bucket, each volume a disk in it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

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
    Volume,
)
from backends.claims import Claim, Stale
from backends.disk.core.head import Heads
from backends.disk.unlocking import rewrap
from backends.errors import Invalid, KedgeError
from backends.host.failures import explained
from backends.inspection import Cut, Exported, Orphan, Progress, Sink
from backends.mounting import MountingBackend, detaching
from backends.options import Size
from backends.records.guarded import Checked, GuardedRecords
from backends.records.store import StoreRecords
from backends.s3 import health
from backends.s3.disks import CLOSE_SECONDS, Disks
from backends.s3.doctor import examined
from backends.s3.inspection import Inspection
from backends.s3.mounted import DiskOwners
from backends.s3.options import S3Options, S3Settings
from backends.s3.snapshots import DiskSnapshots
from backends.s3.tidying import Tidying
from backends.sizes import check_growth
from backends.stores.bucket import Bucket, bucket_store
from backends.stores.probe import probe

_LAG_SECONDS = 1.0


class S3Backend(MountingBackend[S3Settings, S3Options]):
    """Also Resizable, Trash, Fences, Snapshots, Checkable, Exportable, Salvageable, Orphans,
    Rewrappable, Tidies."""

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
        records = GuardedRecords(StoreRecords(self._store, remember=True), Checked(self.check))
        keys = str(settings.keys or "")
        self._disks = Disks(bucket, self._store, Heads(records), context, self.get, keys)
        self._keep_in(records, self._disks)
        self._owners = DiskOwners(self._disks, context.node)
        self._pins = DiskSnapshots(self._disks, self._freezer)
        self._mount_as(self._owners, self._pins)
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
        return Capabilities(everywhere, frozenset({Access.SINGLE}), fencing, metered=True)

    def _attaching(self, volume: Volume[S3Options]) -> AbstractContextManager[None]:
        return self._disks.locked(volume.uuid)

    @contextmanager
    def _reached(self, volume: Volume[S3Options], claim: Claim | None) -> Iterator[None]:
        if not self._owners.held(volume.uuid):
            self._disks.close(volume.uuid, volume.name)
        self._disks.open(volume, claim.epoch if claim else None)
        try:
            yield
        except BaseException:
            with suppress(KedgeError):
                self._disks.close(volume.uuid, volume.name)
            raise

    def volumes(self) -> Sequence[Volume[S3Options]]:
        found = super().volumes()
        self._listed = frozenset(volume.uuid for volume in found)
        return found

    def tidy(self) -> None:
        if self._listed is not None:
            with explained("tidy up"):
                self._tidying.round(self._listed)

    def _mount(
        self, volume: Volume[S3Options], target: Path, *, claim: Claim | None, read_only: bool
    ) -> None:
        layer = self._disks.layer(volume)
        layer.mount(target, read_only=read_only, size=volume.options.size)

    def detach(self, attachment: Attachment) -> None:
        uuid = attachment.uuid
        with explained(f"detach volume {attachment.name}"), self._disks.locked(uuid):
            self._said.pop(uuid, None)
            self._owners.unmount(attachment)
            self._disks.layer(Volume(attachment.name, uuid, "", S3Options())).unstage()
            detaching.await_release(attachment, lambda: not self._owners.held(uuid))
            self._disks.close(uuid, attachment.name)

    def usage(self, attachment: Attachment) -> Usage:
        """Also notes what the disk says about itself, for Status."""
        usage = super().usage(attachment)
        self._note(attachment)
        return usage

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
        check_growth(name, volume.options.size, size)
        with explained(f"resize volume {name}"):
            self._disks.heads.grow(volume.uuid, size)
            volume = self._catalog.amend(volume, lambda has: replace(has, size=max(size, has.size)))
            if attachment is None:
                return Growth.NEXT_ATTACH
            grown = self._disks.layer(volume).grow(attachment.target, size, CLOSE_SECONDS)
        return Growth.ONLINE if grown else Growth.NEXT_ATTACH

    def rewrap(self, volume: Volume[Any], key: str) -> None:
        with explained(f"change the key of volume {volume.name}"):
            rewrap(self._disks.heads, volume.uuid, self._disks.keys, key)
            self._catalog.amend(volume, lambda has: replace(has, encrypt=key))

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

    def export_damaged(
        self, volume: Volume[S3Options], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        return Inspection(self._disks).export_damaged(volume, snapshot, to, progress)

    def cut(
        self, volume: Volume[S3Options], before: int, *, created: str, claim: Claim | None
    ) -> Cut:
        with explained(f"cut the log of volume {volume.name}"):
            return self._pins.cut(volume, before, created=created, claim=claim)

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
            self.check()
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
        return [*found, *(one for v in self._catalog.volumes() for one in self._kept(v))]

    def _kept(self, volume: Volume[S3Options]) -> Iterator[Finding]:
        """What this node could not send of a volume."""
        subject = f"volume {volume.name}"
        try:
            if kept := self.orphans(volume):
                detail = f"{len(kept)} orphans of it are kept here"
                advice = f"kedge orphans {volume.name}; export what you need of them"
                yield Finding(Level.WARNING, subject, detail, advice)
        except KedgeError as error:
            place = self._disks.directory(volume.uuid)
            detail = f"what this node keeps of it in {place} cannot be told: {error.message}"
            yield Finding(Level.ERROR, subject, detail, "keep a copy of that directory")

    def check(self) -> None:
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
