"""What makes an RBD image a file: rbd-fuse, one process and one mount for each image."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from backends.ceph import commands
from backends.ceph.layout import Place
from backends.errors import HostError
from backends.host import files, mountinfo, mounts, programs, servers, targets

_PROGRAM = "rbd-fuse"
_MOUNT_SECONDS = 20.0
_END_SECONDS = 10.0


@dataclass(frozen=True)
class RbdFuse:
    """`uuid` names the mount, which lies below the profile's state."""

    place: Place

    def open(self, image: str, uuid: str) -> Path:
        """The image as a file: the one that is served already, or a new one."""
        if (file := self.file(image, uuid)) is not None:
            return file
        self.close(uuid)
        mountpoint = self.mountpoint(uuid)
        targets.make(mountpoint)
        arguments = commands.rbd_fuse(
            self.place.settings,
            image,
            mountpoint,
            source=commands.mark(self.place.profile, uuid),
        )
        environment = commands.rbd_fuse_environment(self.place.settings)
        try:
            programs.run(arguments, seconds=_MOUNT_SECONDS, environment=environment)
            made = mountpoint / image
            made.stat()
        except (OSError, HostError) as error:
            self.close(uuid)
            raise HostError(f"rbd-fuse does not show image {image}: {error}") from error
        return made

    def file(self, image: str, uuid: str) -> Path | None:
        """Where the image is served now."""
        if self.alive(uuid) and self.mounted(uuid):
            return self.mountpoint(uuid) / image
        return None

    def alive(self, uuid: str) -> bool:
        """Whether the server lives."""
        return bool(servers.serving(_PROGRAM, self.mountpoint(uuid)))

    def close(self, uuid: str) -> None:
        """Take the mount away; nothing uses the file any more, and whoever wanted his bytes kept
        has flushed them. A server that does not leave by itself is one that the cluster does not
        answer, and unmounting first would wait for it: it is ended."""
        mountpoint = self.mountpoint(uuid)
        if not self.mounted(uuid) and not self.alive(uuid):
            targets.clear(mountpoint)
            return
        self._unmount(mountpoint)
        if not servers.ended(_PROGRAM, mountpoint, _END_SECONDS) and not servers.kill(
            _PROGRAM, mountpoint
        ):
            raise HostError(f"rbd-fuse of {mountpoint} does not end; look at `dmesg`")
        targets.clear(mountpoint)

    def kill(self, uuid: str) -> None:
        """End the server at once."""
        servers.kill(_PROGRAM, self.mountpoint(uuid))

    def _unmount(self, mountpoint: Path) -> None:
        while mountinfo.top(mountinfo.read(), str(mountpoint)) is not None:
            try:
                mounts.unmount(mountpoint, lazily=True)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return
                raise

    def mounted(self, uuid: str) -> bool:
        """Whether anything is mounted where the image would be a file."""
        return mountinfo.top(mountinfo.read(), str(self.mountpoint(uuid))) is not None

    def mountpoint(self, uuid: str) -> Path:
        """Where the volume's image is a file, or would be. The node's name is part of it: the
        kernel shows the loop devices of every container on the machine, each with the path of
        its file as that container spells it, and two of them may be nodes of one cluster."""
        directory = self.place.state / "images" / self.place.node
        files.make_directory(directory, 0o700)
        return Path(os.path.realpath(directory)) / uuid
