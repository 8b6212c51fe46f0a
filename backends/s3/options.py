"""What a person may say about an `s3` profile and its volumes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backends.base import Access, ProfileSettings
from backends.disk.core.coding import Compression
from backends.disk.core.tenure import Reads
from backends.disk.engine import Durability
from backends.host.filesystems import FileSystem, driver_of
from backends.options import Size, option
from backends.sizes import broken
from backends.snapshots import SnapshotOptions

_SEGMENT = 32 << 20
_LEAST_LOG = 4 * _SEGMENT


@dataclass(frozen=True)
class S3Settings(ProfileSettings):
    """Settings of a profile with `backend = "s3"`."""

    bucket: str = option(help="the bucket; it must exist")
    prefix: str = option("", help="use only keys below this prefix; one prefix is one profile")
    endpoint: str | None = option(
        None, help="URL of the store, for example https://s3.example.org (default: AWS)"
    )
    region: str | None = option(None, help="region of the bucket (default: as the SDK finds it)")
    credentials: Path | None = option(
        None,
        help="file with a section [default] that has aws_access_key_id and aws_secret_access_key "
        "(default: environment, shared files or instance role, as the SDK finds them)",
    )
    path_style: bool | None = option(
        None,
        help="whether the bucket is named in the path, or (false) in the host name (default: in "
        "the path, if there is an `endpoint`; as AWS wants it, if there is none)",
    )
    ca_file: Path | None = option(None, help="certificates to trust, for stores with their own CA")
    storage_class: str | None = option(
        None,
        help="how the store keeps what is written, as its own documentation names it, such as "
        "STANDARD_IA (default: as the bucket says)",
    )
    keys: Path | None = option(
        None,
        help="directory with one file per key for encrypt=NAME: 32 bytes, plain, in hex or in "
        "base64; the same on every node",
    )
    single_node: bool = option(
        False,
        help="use a store without working conditional writes, and vouch that no other node ever "
        "uses this prefix",
    )

    def problems(self) -> Iterable[str]:
        """Rules over several settings."""
        if self.endpoint and not re.match(r"https?://[^/]", self.endpoint):
            yield f"endpoint={self.endpoint[:60]!r} is no URL, such as https://s3.example.org"
        kept = self.storage_class
        if kept is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{1,40}", kept):
            yield f"storage_class={kept[:60]!r} is not written in capitals, like STANDARD_IA"
        if kept in ("GLACIER", "DEEP_ARCHIVE"):
            yield f"storage_class={kept} cannot be read without asking for it hours before"


@dataclass(frozen=True)
class S3Options(SnapshotOptions):
    """Options of a volume of `s3`."""

    size: Size = option(Size(10 << 30), help="how much the volume may hold; can grow later")
    fs: FileSystem = option(FileSystem.EXT4, help="the file system on the volume's disk")
    durability: Durability = option(
        Durability.LOCAL,
        help="what fsync waits for; local: this node's disk, a lost node loses the last `rpo` "
        "seconds; store: the bucket, a lost node loses nothing",
    )
    rpo: float = option(1.0, help="seconds after which a write is sent to the bucket at the latest")
    rpo_limit: float = option(
        0.0,
        help="with durability=local: once the oldest write that is not in the bucket is so many "
        "seconds old, fsync waits for the bucket, so that a node that is cut off confirms no more "
        "than that; 0: it goes on until `log` is full",
    )
    reads: Reads = option(
        Reads.RELAXED,
        help="what a read needs; relaxed: nothing, a node that was frozen may answer with what it "
        "knew until its next write is refused; strict: that the bucket said moments ago whose the "
        "volume is; while it is away, reads wait",
    )
    compress: Compression = option(
        Compression.NONE, help="how what is in the bucket is made smaller; zstd is smallest"
    )
    encrypt: str | None = option(
        None,
        help="encrypt what is in the bucket (AES-256-GCM) with this key of the profile's `keys`",
        placeholder="KEY NAME",
    )
    scrub: float = option(
        60.0,
        help="seconds between objects of a mounted volume that are read only to see whether they "
        "are whole; 0: never",
    )
    log: Size = option(
        Size(1 << 30),
        help="bytes on this node's disk for writes that are not in the bucket yet; when it is "
        "full, writers wait",
    )
    cache: Size = option(Size(1 << 30), help="bytes on this node's disk for what was read")

    def problems(self) -> Iterable[str]:
        """Rules over several options."""
        driver = driver_of(self.fs)
        if self.access is Access.SHARED:
            yield "access=shared is not possible: the volume is a disk of one node at a time"
        yield from broken(self.size, Size(driver.minimum), driver.name)
        if not 0.05 <= self.rpo <= 3600:
            yield f"rpo={self.rpo:g} is not between 0.05 and 3600 seconds"
        if self.rpo_limit and self.durability is Durability.STORE:
            yield "rpo_limit is for durability=local: with store no fsync is confirmed before"
        if self.rpo_limit and not self.rpo <= self.rpo_limit <= 86400:
            yield (
                f"rpo_limit={self.rpo_limit:g} is neither 0 nor between rpo={self.rpo:g} and 86400 "
                "seconds"
            )
        if self.log < _LEAST_LOG:
            yield f"log={self.log} is too small; use at least {Size(_LEAST_LOG)}"
