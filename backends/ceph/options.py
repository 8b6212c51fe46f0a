"""What a person may say about a `ceph` profile and its volumes."""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Access, ProfileSettings
from backends.host.filesystems import FileSystem, driver_of
from backends.options import Size, option
from backends.sizes import broken
from backends.snapshots import SnapshotOptions

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_INHERITED = ("layout", "size", "fs")
_MONITORS = re.compile(r"[A-Za-z0-9_.:,/\[\]-]{1,1000}")


class Layout(enum.Enum):
    """What a volume is in the cluster."""

    FILESYSTEM = "filesystem"
    DISK = "disk"


class FilesystemClient(enum.Enum):
    """What mounts subvolumes."""

    AUTO = "auto"
    KERNEL = "kernel"
    FUSE = "ceph-fuse"


class DiskClient(enum.Enum):
    """What makes an image a device."""

    AUTO = "auto"
    KERNEL = "kernel"
    NBD = "rbd-nbd"
    FUSE = "rbd-fuse"


@dataclass(frozen=True)
class CephSettings(ProfileSettings):
    """Settings of a profile with `backend = "ceph"`."""

    keyring: Path = option(help="file with the key of the client; readable by root only")
    client: str = option("kedge", help="name of the client, without `client.`")
    conf: Path = option(
        Path("/etc/ceph/ceph.conf"), help="Ceph's configuration file; not read when monitors is set"
    )
    monitors: str | None = option(None, help="addresses of the monitors, instead of conf")
    pool: str = option("kedge", help="replicated pool for the records and for layout=disk")
    fs: str | None = option(None, help="name of the CephFS; needed for layout=filesystem")
    group: str = option("kedge", help="subvolume group in the CephFS")
    timeout: float = option(10.0, help="how long to wait for the cluster's answer")
    layout: Layout = option(Layout.FILESYSTEM, help="layout of volumes that do not ask for one")
    filesystem_client: FilesystemClient = option(
        FilesystemClient.AUTO, help="what mounts subvolumes; auto: the kernel where it can"
    )
    disk_client: DiskClient = option(
        DiskClient.AUTO, help="what makes an image a device; auto: the kernel where it can"
    )

    def problems(self) -> Iterable[str]:
        """Rules over several settings. All these words become arguments of programs."""
        for name in ("client", "pool", "fs", "group"):
            value = getattr(self, name)
            if value is not None and not _WORD.fullmatch(value):
                yield f"{name}={value!r} may have letters, digits, '_', '.' and '-' only"
        if self.monitors is not None and not _MONITORS.fullmatch(self.monitors):
            yield f"monitors={self.monitors!r} is not a list of addresses"
        for path in (self.keyring, self.conf):
            if len(str(path).split()) != 1:
                yield f"{path} has a space in it, which Ceph's clients cannot be given"
        if not 1 <= self.timeout <= 25:
            yield "timeout must lie between 1 and 25 seconds: Docker itself waits 30"
        if self.fs is None and self.layout is Layout.FILESYSTEM:
            yield "fs is missing: name the CephFS, or set layout=disk to have RBD images only"


@dataclass(frozen=True)
class CephOptions(SnapshotOptions):
    """Options of a volume of `ceph`. What is left out is filled in by `settled`."""

    layout: Layout | None = option(
        None, help="filesystem: a CephFS subvolume; disk: an RBD image (default: the profile's)"
    )
    size: Size | None = option(
        None, help="how much the volume may hold; can grow later; layout=disk needs it"
    )
    fs: FileSystem | None = option(None, help="file system of layout=disk (default: ext4)")

    def settled(self, settings: CephSettings) -> "CephOptions":
        """The same options with what was left out filled in."""
        layout = self.layout or settings.layout
        fs = self.fs or (FileSystem.EXT4 if layout is Layout.DISK else None)
        return replace(self, layout=layout, fs=fs)

    def inherited(self, source: "CephOptions") -> "CephOptions":
        """The same options with what was left out as it is in the volume they are made from."""
        wanted = {name: getattr(self, name) or getattr(source, name) for name in _INHERITED}
        return replace(self, **wanted)

    def complaints(self, settings: CephSettings) -> Iterable[str]:
        """What is wrong with settled options in this profile."""
        if self.layout is Layout.FILESYSTEM:
            if settings.fs is None:
                yield "layout=filesystem is not possible: the profile names no CephFS (fs)"
            if self.fs is not None:
                yield f"fs={self.fs.value} needs layout=disk"
            return
        if self.access is Access.SHARED:
            yield "access=shared is not possible with layout=disk; use layout=filesystem"
        if self.size is None:
            yield "layout=disk needs a size, for example size=10G"
            return
        driver = driver_of(self.fs or FileSystem.EXT4)
        yield from broken(self.size, Size(driver.minimum), driver.name)
