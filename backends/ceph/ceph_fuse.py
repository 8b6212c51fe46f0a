"""What serves a mounted subvolume: ceph-fuse."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from backends.ceph import admin_socket, commands
from backends.ceph.commands import Subvolume
from backends.ceph.layout import Place
from backends.errors import HostError
from backends.host import mountinfo, mounts, programs, servers, targets

_PROGRAM = "ceph-fuse"
_MOUNT_SECONDS = 20.0


@dataclass(frozen=True)
class CephFuse:
    """One server process for each mount, found again by its mount point."""

    place: Place

    def mount(self, volume: Subvolume, uuid: str) -> str:
        """Mount the volume's root; the address by which the cluster knows this client. What is
        dead is taken away before."""
        self.unmount(uuid)
        servers.kill(_PROGRAM, self.mountpoint(uuid))
        mountpoint = self.mountpoint(uuid)
        targets.make(mountpoint)
        sockets = self.place.directory("sockets")
        self._sweep(sockets)
        arguments = commands.ceph_fuse(
            self.place.settings,
            volume,
            mountpoint,
            source=commands.mark(self.place.profile, uuid),
            socket=str(sockets / "$pid"),
        )
        try:
            programs.run(arguments, seconds=_MOUNT_SECONDS)
            return self._address(mountpoint, sockets)
        except (OSError, HostError) as error:
            servers.kill(_PROGRAM, mountpoint)
            self.unmount(uuid)
            raise HostError(f"ceph-fuse did not mount volume {uuid}: {error}") from error

    def unmount(self, uuid: str) -> None:
        """Take the volume's root away. Its server goes on until nothing has any of it mounted
        and everything is written; see `ended`."""
        mountpoint = self.mountpoint(uuid)
        while self._mounted(mountpoint):
            mounts.unmount(mountpoint, lazily=True)
        targets.clear(mountpoint)

    def healthy(self, uuid: str) -> bool:
        """Whether a server lives that the cluster has not shut out. One that is too busy to say
        is stalled, and one without a socket is about to leave: neither is given up."""
        return any(
            not self._shut_out(pid) for pid in servers.serving(_PROGRAM, self.mountpoint(uuid))
        )

    def ended(self, uuid: str, seconds: float) -> bool:
        """Wait until no server is left; it leaves when it has written everything."""
        return servers.ended(_PROGRAM, self.mountpoint(uuid), seconds)

    def kill(self, uuid: str) -> None:
        """End servers whose data the cluster refuses anyway, or that are dead already."""
        servers.kill(_PROGRAM, self.mountpoint(uuid))

    def _shut_out(self, pid: int) -> bool:
        try:
            state = admin_socket.ask(self.place.directory("sockets") / str(pid))
        except OSError:
            return False
        return state is not None and state.blocklisted

    def mountpoint(self, uuid: str) -> Path:
        """Where the volume's root is mounted, or would be."""
        return Path(os.path.realpath(self.place.directory("mounts"))) / uuid

    def _mounted(self, mountpoint: Path) -> bool:
        return mountinfo.top(mountinfo.read(), str(mountpoint)) is not None

    def _address(self, mountpoint: Path, sockets: Path) -> str:
        """Of the server that was started a moment ago."""
        places = [sockets / str(pid) for pid in servers.serving(_PROGRAM, mountpoint)]
        # It forks to run mount(8); the copy looks like itself for a moment and has no socket.
        state = next((admin_socket.ask(place) for place in places if place.exists()), None)
        if state is None:
            raise HostError("it does not answer on its socket; try again")
        return state.address

    def _sweep(self, sockets: Path) -> None:
        """Take away the sockets of servers that were killed."""
        for path in sockets.iterdir():
            if not Path(f"/proc/{path.name}").exists():
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
