"""What carries a volume's data on this node: the kernel's own clients, or programs. Pure.

The choice is the profile's; left to us, the kernel's clients are taken where the kernel has them.
What is mounted already stays with what it was mounted by.
"""

from dataclasses import dataclass

from backends.ceph.options import CephSettings, DiskClient, FilesystemClient
from backends.errors import HostError


@dataclass(frozen=True)
class Carriers:
    """What this node could use."""

    ceph: bool
    """The kernel mounts CephFS."""
    rbd: bool
    """The kernel maps RBD images."""
    nbd: bool
    """The kernel has network block devices, and the program rbd-nbd is installed."""

    def filesystem(self, settings: CephSettings) -> FilesystemClient:
        """For layout=filesystem. HostError when the one that is wanted is not to be had."""
        wanted = settings.filesystem_client
        if wanted is FilesystemClient.AUTO:
            return FilesystemClient.KERNEL if self.ceph else FilesystemClient.FUSE
        if wanted is FilesystemClient.KERNEL and not self.ceph:
            raise _missing("filesystem_client=kernel", "ceph")
        return wanted

    def disk(self, settings: CephSettings) -> DiskClient:
        """For layout=disk. HostError when the one that is wanted is not to be had."""
        wanted = settings.disk_client
        if wanted is DiskClient.AUTO:
            if self.rbd:
                return DiskClient.KERNEL
            return DiskClient.NBD if self.nbd else DiskClient.FUSE
        if wanted is DiskClient.KERNEL and not self.rbd:
            raise _missing("disk_client=kernel", "rbd")
        if wanted is DiskClient.NBD and not self.nbd:
            raise _missing("disk_client=rbd-nbd", "nbd")
        return wanted


def _missing(setting: str, module: str) -> HostError:
    program = " and install rbd-nbd" if module == "nbd" else ""
    return HostError(
        f"the profile has {setting}, which this node lacks: load the kernel's module "
        f"(`modprobe {module}`){program}, or set it to auto"
    )
