"""What serves a mounted subvolume where the kernel does it itself.

The kernel's client has no process. What it says of itself stands in debugfs, below the cluster's
and the client's number, which the mount's own attributes tell; where debugfs cannot be read, its
address is not known, and it is shut out by its user alone.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.ceph import commands
from backends.ceph.commands import Subvolume
from backends.ceph.layout import Place
from backends.errors import HostError
from backends.host import files, mountinfo, mounts, programs, targets
from backends.host.mountinfo import Mount

TYPE = "ceph"
_MOUNT_SECONDS = 20.0
_DEBUG = Path("/sys/kernel/debug/ceph")


@dataclass(frozen=True)
class KernelCeph:
    """`uuid` names the mount, which lies below the profile's state."""

    place: Place

    def mount(self, volume: Subvolume, uuid: str, mountpoint: Path) -> str:
        """Mount the volume's root; the address by which the cluster knows this client, empty
        when the kernel does not tell."""
        targets.make(mountpoint)
        secret = self.place.directory("keys") / f"{volume.user}.secret"
        files.write_secret(secret, key_of(volume.keyring.read_text()).encode())
        arguments = commands.kernel_ceph(self.place.settings, volume, mountpoint, secret=secret)
        try:
            programs.run(arguments, seconds=_MOUNT_SECONDS)
            return _state(mountpoint)[0]
        except (OSError, HostError) as error:
            with contextlib.suppress(OSError):
                mounts.unmount(mountpoint, lazily=True, forced=True)
            targets.clear(mountpoint)
            raise HostError(f"the kernel did not mount volume {uuid}: {error}") from error
        finally:
            secret.unlink()

    def healthy(self, mountpoint: Path) -> bool:
        """Whether it is mounted, and not known to be shut out."""
        return not _state(mountpoint)[1]

    def kill(self, mountpoint: Path) -> None:
        """Make everything fail that waits for the cluster, and everything that follows."""
        with contextlib.suppress(OSError):
            mounts.unmount(mountpoint, lazily=True, forced=True)


def serves(mount: Mount, table: Sequence[Mount], mountpoint: Path) -> bool:
    """Whether `mount` shows the file system that is mounted at `mountpoint`."""
    base = mountinfo.top(table, str(mountpoint))
    return base is not None and base.type == TYPE and base.device == mount.device


def uuid_in(source: str) -> str:
    """The subvolume's name in what the mount table shows: `MONITORS:/volumes/GROUP/NAME/ID`."""
    parts = source.partition(":/")[2].split("/")
    return parts[2] if len(parts) == 4 and parts[0] == "volumes" else ""


def key_of(keyring: str) -> str:
    """The key in a keyring file of one client."""
    for line in keyring.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "key":
            return value.strip()
    raise HostError("the keyring has no key")


def state_in(text: str) -> tuple[str, bool]:
    """(address, shut out) from a client's file `status` in debugfs."""
    facts = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    address = facts.get("instance", "").rpartition(")")[2].strip()
    return address, facts.get("blocklisted", facts.get("blacklisted", "")) == "true"


def _state(mountpoint: Path) -> tuple[str, bool]:
    """("", False) where it cannot be told."""
    with contextlib.suppress(OSError):
        fsid = os.getxattr(mountpoint, "ceph.cluster_fsid").decode()
        client = os.getxattr(mountpoint, "ceph.client_id").decode()
        return state_in((_DEBUG / f"{fsid}.{client}" / "status").read_text())
    return "", False
