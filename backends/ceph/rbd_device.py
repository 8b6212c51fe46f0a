"""What makes an RBD image a file where the kernel has it as a block device: krbd, or rbd-nbd.

The device's node is made where rbd-fuse would show its file, so that everything above it (a loop
device, a file system) is the same, is found again by the same path, and is nobody else's.

Nodes outlive a restart of the machine and their numbers are given away again: a node counts only
while the kernel shows this image behind it.
"""

import contextlib
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

from backends.ceph import commands
from backends.ceph.layout import Place
from backends.ceph.options import DiskClient
from backends.errors import HostError
from backends.host import programs, targets

_KINDS = {DiskClient.KERNEL: "krbd", DiskClient.NBD: "nbd"}
_MAP_SECONDS = 20.0


@dataclass(frozen=True)
class RbdDevice:
    """`root`: of /sys, /proc and /dev, for tests."""

    place: Place
    root: Path = Path("/")

    def open(self, image: str, directory: Path, client: DiskClient) -> Path:
        """Map the image; its node in `directory`."""
        targets.make(directory)
        arguments = commands.rbd_map(self.place.settings, image, _KINDS[client])
        environment = commands.rbd_fuse_environment(self.place.settings)
        done = programs.run(arguments, seconds=_MAP_SECONDS, environment=environment)
        name = os.path.basename(done.stdout.strip())
        node = directory / image
        try:
            major, minor = (self.root / "sys/block" / name / "dev").read_text().split(":")
            os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
        except (OSError, ValueError) as error:
            self._unmap(f"/dev/{name}", _KINDS[client], force=True)
            targets.clear(directory)
            raise HostError(f"`rbd map` of {image} made no usable device: {error}") from error
        return node

    def file(self, directory: Path) -> Path | None:
        """The image's node, while the kernel shows this image behind it."""
        node = _node(directory)
        return node if node is not None and self._name(node) is not None else None

    def close(self, directory: Path, *, force: bool = False) -> None:
        """Unmap the image and take its node away. Nothing there: does nothing."""
        node = _node(directory)
        if node is None:
            return
        if (name := self._name(node)) is not None:
            self._unmap(f"/dev/{name}", _kind(name), force=force)
        node.unlink(missing_ok=True)
        targets.clear(directory)

    def kill(self, directory: Path) -> None:
        """Make everything that waits for the image fail, at once."""
        node = _node(directory)
        name = self._name(node) if node is not None else None
        if name is None:
            return
        if _kind(name) == "nbd":
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.root / "sys/block" / name / "pid").read_text()), signal.SIGKILL)
            return
        with contextlib.suppress(HostError):
            self._unmap(f"/dev/{name}", "krbd", force=True)

    def _unmap(self, device: str, kind: str, *, force: bool) -> None:
        arguments = commands.rbd_unmap(device, kind, force=force)
        programs.run(arguments, seconds=_MAP_SECONDS)

    def _name(self, node: Path) -> str | None:
        """The kernel's name for the device, if it is this image's: `rbd0`, `nbd1`."""
        number = node.stat().st_rdev
        link = self.root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
        name = os.path.basename(os.path.realpath(link))
        with contextlib.suppress(OSError):
            if name.startswith("rbd"):
                facts = self.root / "sys/bus/rbd/devices" / name.removeprefix("rbd")
                pool, image = ((facts / fact).read_text().strip() for fact in ("pool", "name"))
                return name if (pool, image) == (self.place.settings.pool, node.name) else None
            if name.startswith("nbd"):
                pid = (self.root / "sys/block" / name / "pid").read_text().strip()
                line = (self.root / "proc" / pid / "cmdline").read_bytes().split(b"\0")
                spec = f"{self.place.settings.pool}/{node.name}".encode()
                return name if spec in line else None
        return None


def _kind(name: str) -> str:
    return "nbd" if name.startswith("nbd") else "krbd"


def _node(directory: Path) -> Path | None:
    """The one block device that lies in it."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if stat.S_ISBLK(path.lstat().st_mode):
                return path
    return None
