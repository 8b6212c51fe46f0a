"""The disks of an s3 profile on this node: made, opened at a path, closed, deleted."""

import logging
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from backends.base import Context, Volume
from backends.disk.collection.deletion import delete_disk
from backends.disk.core import pins
from backends.disk.core.head import CLAIM_SHIFT, Head, Heads, State
from backends.disk.core.tenure import Reads
from backends.disk.fuse.layer import Layer
from backends.disk.fuse.path import DataPath
from backends.disk.log.orphaned import orphan_name, unsent
from backends.disk.remote import Arguments, random_id
from backends.disk.serve import Config
from backends.disk.snapshots.cloning import clone_disk
from backends.disk.unlocking import coder_of, wrapped
from backends.errors import (
    Claimed,
    Damaged,
    Fenced,
    HostError,
    Invalid,
    NotFound,
    Unavailable,
)
from backends.host import files
from backends.host.filesystems import driver_of
from backends.host.locks import locked
from backends.host.staging import Staging
from backends.host.waiting import wait_until
from backends.options import Size
from backends.s3.options import S3Options
from backends.snapshots import Source
from backends.stores.base import Store
from backends.stores.bucket import Bucket

log = logging.getLogger(__name__)

OPEN_SECONDS = 20.0
CLOSE_SECONDS = 20.0
_LOCK_SECONDS = 10.0
MADE_ELSEWHERE = 15.0
"""Seconds for which a node that lost the disk while it formatted it leaves it to the other."""
_TRIES = 3
_FACTORY = "backends.disk.remote:open_remote"


def label(uuid: str, node: str) -> str:
    """What `losetup` shows for a volume's device. Nodes in containers share their machine's loop
    devices, and each knows its own by this."""
    return f"kedge:{uuid}:s3:{zlib.crc32(node.encode()):08x}"


def allocated(directory: Path) -> int:
    """Bytes that the files of a directory take."""
    return sum(file.stat().st_blocks * 512 for file in directory.iterdir())


@dataclass(frozen=True)
class Disks:
    """Also the `Data` of the catalog."""

    bucket: Bucket
    store: Store
    heads: Heads
    context: Context
    get: Callable[[str], Volume[S3Options]]
    """Reads a volume of the profile."""
    keys: str = ""
    """The directory of the profile's keys."""

    def make(self, volume: Volume[S3Options]) -> None:
        """Make the disk and its file system. Ready already: left untouched.

        Formatting is done under claim 0, mounting under a higher one: a node that slept between
        looking and formatting cannot take a disk that somebody has mounted since."""
        options = volume.options
        if options.from_ is not None:
            self._clone(volume, options.from_)
            return
        name = options.encrypt or ""
        key = wrapped(self.keys, name, random_id() + random_id()) if name else ""
        made = self.heads.create(volume.uuid, options.size, key_name=name, wrapped_key=key)
        if made.ready:
            return
        with self.locked(volume.uuid):
            self.layer(volume).release(CLOSE_SECONDS)  # somebody may have died while he made it
            for _ in range(_TRIES):
                if self._formatted(volume):
                    return
                if wait_until(lambda: self.heads.read(volume.uuid).ready, MADE_ELSEWHERE):
                    return
        raise Unavailable(f"several nodes make volume {volume.name} at once; try again")

    def _formatted(self, volume: Volume[S3Options]) -> bool:
        """Make the file system. False: another node has taken the disk before it was in the
        store, and makes it now."""
        options, before = volume.options, self.heads.read(volume.uuid)
        try:
            with self._opened(volume, claim=0):
                head = self.heads.read(volume.uuid)
                if head.node == self.context.node and not head.ready:
                    self.layer(volume).format(
                        name=volume.name, uid=options.uid, gid=options.gid, mode=options.mode
                    )
        except (Fenced, HostError):
            now = self.heads.read(volume.uuid)
            if not now.ready and (now.node == self.context.node or now.epoch == before.epoch):
                raise
            return now.ready
        ours = head.node == self.context.node
        return head.ready or (ours and self.heads.mark_ready(head))

    def _clone(self, volume: Volume[S3Options], source: Source) -> None:
        """Make the disk from a snapshot of another one. Repeatable."""
        with suppress(NotFound):
            if self.heads.read(volume.uuid).state in (State.DETACHED, State.ATTACHED):
                return
        base = self.get(source.volume)
        origin = self.heads.read(base.uuid)
        pin = pins.found(origin, source.snapshot)
        asked, has = volume.options, base.options
        for option in ("fs", "encrypt"):
            if getattr(asked, option) != getattr(has, option):
                raise Invalid(
                    f"volume {volume.name} can only have the {option} of {base.name}, from which "
                    f"it is made; leave {option} out"
                )
        if asked.size < pin.size:
            raise Invalid(
                f"size={asked.size} is less than the {Size(pin.size)} of {base.name}, from which "
                f"volume {volume.name} is made"
            )
        clone_disk(
            *(self.store, self.heads, base.uuid, source.snapshot),
            uuid=volume.uuid,
            size=asked.size,
            new_id=random_id,
            coder=coder_of(origin, self.keys),
        )

    def delete(self, volume: Volume[S3Options]) -> None:
        """Put the disk out of everybody's reach, and delete what it was made of."""
        with self.locked(volume.uuid):
            self.close(volume.uuid, volume.name)
            delete_disk(self.store, self.heads, volume.uuid, new_id=random_id)
            self._remove(volume.uuid)

    def drop(self, uuid: str) -> bool:
        """Remove what this node keeps of a disk that was deleted. False: it is still attached."""
        with self.locked(uuid):
            if self.path(uuid, uuid).alive():
                return False
            self.close(uuid, uuid)
            self._remove(uuid)
        return True

    def _remove(self, uuid: str) -> None:
        kept = sorted(self.directory(uuid).glob(orphan_name("*")))
        last = self.directory(uuid) / "log"
        for orphan in [*kept, last] if unsent(last, uuid) else kept:
            log.warning(
                "disk %s was deleted: what this node had written and not sent of it, in %s "
                "(%d bytes), goes with it",
                *(uuid, orphan, allocated(orphan)),
            )
        for place in (self.directory(uuid), self.path(uuid, "").directory):
            shutil.rmtree(place, ignore_errors=True)

    def where(self, volume: Volume[S3Options]) -> str:
        """Where the data lie, for people."""
        prefix = f"{self.bucket.prefix.strip('/')}/" if self.bucket.prefix.strip("/") else ""
        return f"s3://{self.bucket.bucket}/{prefix}disks/{volume.uuid}/"

    def open(self, volume: Volume[S3Options], claim: int | None) -> None:
        """Make the volume's data path work. Claimed when there is no claim and another node has
        the disk; Fenced when somebody with a later claim has it."""
        head = self.heads.read(volume.uuid)
        coder_of(head, self.keys)
        if volume.options.encrypt and not head.wrapped_key:
            raise Damaged(f"volume {volume.name} is to be encrypted, and its disk is not")
        claim = self.epoch(volume, head, claim)
        config = Config(_FACTORY, self._arguments(volume, claim))
        _refuse_later(head, claim)
        try:
            self.path(volume.uuid, volume.name).open(config, OPEN_SECONDS)
        except HostError:
            _refuse_later(self.heads.read(volume.uuid), claim)
            raise

    def close(self, uuid: str, name: str) -> None:
        """Ship everything and let go of the disk, on which nothing is mounted but what a crash may
        have left on its stage. InUse: something is. Unavailable while it takes longer."""
        self.layer(Volume(name, uuid, "", S3Options())).release(CLOSE_SECONDS)
        self.path(uuid, name).close(CLOSE_SECONDS)

    def path(self, uuid: str, name: str) -> DataPath:
        """The data path of a volume on this node."""
        return DataPath(self.context.state / "paths" / uuid, name)

    def layer(self, volume: Volume[S3Options]) -> Layer:
        """The file system on it."""
        return Layer(
            self.path(volume.uuid, volume.name),
            label(volume.uuid, self.context.node),
            driver_of(volume.options.fs),
            Staging(self.context.state / "staging"),
        )

    def directory(self, uuid: str) -> Path:
        """Of a disk on this node: local log, cache, orphans."""
        return self.context.state / "disks" / uuid

    @contextmanager
    def locked(self, uuid: str) -> Iterator[None]:
        """Nobody else on this machine makes, mounts or deletes the volume during the block."""
        files.make_directory(self.context.state / "locks", 0o700)
        with locked(self.context.state / "locks" / uuid, _LOCK_SECONDS, lasting=False):
            yield

    @contextmanager
    def _opened(self, volume: Volume[S3Options], claim: int) -> Iterator[None]:
        self.open(volume, claim)
        try:
            yield
        finally:
            self.close(volume.uuid, volume.name)

    def epoch(self, volume: Volume[S3Options], head: Head, claim: int | None) -> int:
        """Under which claim the disk is taken; without one, under that of whoever had it. Claimed
        when there is none and another node has the disk."""
        if claim is not None:
            return claim
        if head.state is State.ATTACHED and head.node != self.context.node:
            raise Claimed(
                f"volume {volume.name} is in use by node {head.node}; detach it there first"
            )
        return max(1, head.epoch >> CLAIM_SHIFT)

    def _arguments(self, volume: Volume[S3Options], claim: int) -> dict[str, object]:
        options = volume.options
        return asdict(
            Arguments(
                bucket=self.bucket,
                uuid=volume.uuid,
                node=self.context.node,
                directory=str(self.directory(volume.uuid)),
                claim=claim,
                scrub=options.scrub,
                compress=options.compress.value,
                keys=self.keys,
                durability=options.durability.value,
                rpo=options.rpo,
                rpo_limit=options.rpo_limit,
                trust=self.context.trust if options.reads is Reads.STRICT else 0.0,
                log_bytes=int(options.log),
                cache_bytes=int(options.cache),
            )
        )


def _refuse_later(head: Head, claim: int) -> None:
    """Fenced, in words, where the server could only fail."""
    if head.epoch >> CLAIM_SHIFT > claim:
        raise Fenced(
            f"disk {head.uuid} was taken by node {head.node} under claim "
            f"{head.epoch >> CLAIM_SHIFT}; claim {claim} is over"
        )
