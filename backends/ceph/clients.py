"""The clients of this node behind one face, whichever of them is chosen or serves already."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.ceph import commands, kernel_ceph
from backends.ceph.carriers import Carriers
from backends.ceph.ceph_fuse import CephFuse
from backends.ceph.commands import Subvolume
from backends.ceph.kernel_ceph import KernelCeph
from backends.ceph.options import DiskClient, FilesystemClient
from backends.ceph.rbd_device import RbdDevice
from backends.ceph.rbd_fuse import RbdFuse
from backends.errors import HostError
from backends.host import modules, mountinfo, programs
from backends.host.mountinfo import Mount


def present() -> Carriers:
    """What this node has now; a module may be loaded at any time."""
    return Carriers(
        ceph=modules.file_system("ceph"),
        rbd=modules.available("rbd"),
        nbd=modules.available("nbd") and programs.installed("rbd-nbd"),
    )


@dataclass(frozen=True)
class SubvolumeClients:
    """What mounts subvolumes: `CephFuse` says what each call does."""

    fuse: CephFuse
    kernel: KernelCeph
    choose: Callable[[], FilesystemClient]

    def chosen(self) -> str:
        """What would mount the next one, for people."""
        return _named(self.choose, "ceph")

    def mountpoint(self, uuid: str) -> Path:
        return self.fuse.mountpoint(uuid)

    def reached(self, uuid: str) -> Path | None:
        """Where the volume's root is mounted in good health."""
        return self.mountpoint(uuid) if self._top(uuid) and self.healthy(uuid) else None

    def mount(self, volume: Subvolume, uuid: str) -> str:
        client = self.choose()
        self.unmount(uuid)
        if client is FilesystemClient.KERNEL:
            return self.kernel.mount(volume, uuid, self.mountpoint(uuid))
        return self.fuse.mount(volume, uuid)

    def unmount(self, uuid: str) -> None:
        self.fuse.unmount(uuid)

    def shown(self, mount: Mount, profile: str) -> str | None:
        """The uuid of the volume that a mount shows, when a client of this profile serves it."""
        prefix = commands.mark(profile, "")
        if mount.source.startswith(prefix) and mount.type.startswith("fuse"):
            return mount.source.removeprefix(prefix)
        if mount.type != kernel_ceph.TYPE:
            return None
        uuid = kernel_ceph.uuid_in(mount.source)
        ours = uuid and kernel_ceph.serves(mount, mountinfo.read(), self.mountpoint(uuid))
        return uuid if ours else None

    def healthy(self, uuid: str) -> bool:
        if self._by_kernel(uuid):
            return self.kernel.healthy(self.mountpoint(uuid))
        return self.fuse.healthy(uuid)

    def ended(self, uuid: str, seconds: float) -> bool:
        return self.fuse.ended(uuid, seconds)

    def kill(self, uuid: str) -> None:
        if self._by_kernel(uuid):
            self.kernel.kill(self.mountpoint(uuid))
        self.fuse.kill(uuid)

    def _by_kernel(self, uuid: str) -> bool:
        top = self._top(uuid)
        return top is not None and top.type == kernel_ceph.TYPE

    def _top(self, uuid: str) -> Mount | None:
        return mountinfo.top(mountinfo.read(), str(self.mountpoint(uuid)))


@dataclass(frozen=True)
class ImageClients:
    """What makes an image a file, or a device that stands where the file would: `RbdFuse` says
    what each call does. A directory that something is mounted on is never looked into."""

    fuse: RbdFuse
    device: RbdDevice
    choose: Callable[[], DiskClient]

    def chosen(self) -> str:
        """What would open the next one, for people."""
        return _named(self.choose, "rbd")

    def mountpoint(self, uuid: str) -> Path:
        return self.fuse.mountpoint(uuid)

    def open(self, image: str, uuid: str) -> Path:
        if (file := self.file(image, uuid)) is not None:
            return file
        self.close(uuid)
        client = self.choose()
        if client is DiskClient.FUSE:
            return self.fuse.open(image, uuid)
        return self.device.open(image, self.mountpoint(uuid), client)

    def file(self, image: str, uuid: str) -> Path | None:
        return self.fuse.file(image, uuid) or self._device(uuid)

    def alive(self, uuid: str) -> bool:
        return self.fuse.alive(uuid) or self._device(uuid) is not None

    def close(self, uuid: str) -> None:
        if not self.fuse.mounted(uuid):
            self.device.close(self.mountpoint(uuid))
        self.fuse.close(uuid)

    def kill(self, uuid: str) -> None:
        if not self.fuse.mounted(uuid):
            self.device.kill(self.mountpoint(uuid))
        self.fuse.kill(uuid)

    def _device(self, uuid: str) -> Path | None:
        return None if self.fuse.mounted(uuid) else self.device.file(self.mountpoint(uuid))


def _named(choose: Callable[[], enum.Enum], module: str) -> str:
    """The choice, or why there is none."""
    try:
        name = str(choose().value)
    except HostError as error:
        return f"none: {error}"
    return f"{module} (kernel)" if name == "kernel" else name
