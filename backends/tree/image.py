"""Layout `image`: `<root>/volumes/<uuid>/image`, a sparse file with a file system of its own.

    image ──> loop device ──> mounted at a private stage ──> its `data` bound to the target

The stage is unmounted again, so one mount remains, and its root `/data` on that device is the
proof. The file system's own root is never handed out: its `lost+found` would keep Docker from
copying the image's files into a new volume. The device frees itself with its last user.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Attachment, Volume
from backends.errors import Damaged, HostError, InUse, Invalid
from backends.host import files, loop, mountinfo, mounts
from backends.host.copying import copy_file
from backends.host.failures import explained
from backends.host.filesystems import BlockFileSystem, FileSystem, driver_of
from backends.host.freezing import SECONDS, Freezer
from backends.host.locks import locked
from backends.host.staging import Staging
from backends.mounting.mounted import Owner
from backends.options import Size
from backends.tree.options import TreeOptions
from backends.tree.origin import Origin
from backends.tree.room import require_room
from backends.tree.source import Source, label, opened
from backends.tree.store import Store

ROOT = "/data"
"""What mountinfo shows as the root of a volume's mount."""
_LOCK_SECONDS = 10.0
_RELEASE_SECONDS = 5.0


@dataclass(frozen=True)
class ImageLayout:
    """Makes and mounts volumes that are images. `node` tells temporary names of nodes apart."""

    store: Store
    source: Source
    staging: Staging
    node: str
    origin: Origin
    freezer: Freezer

    def make(self, volume: Volume[TreeOptions]) -> None:
        """Make the image. There: left alone."""
        files.make_directory(self.store.data(volume.uuid), 0o700)
        with opened(self.source, volume.uuid), self.locked(volume.uuid):
            if self.image(volume.uuid).exists():
                return
            new = self.image(volume.uuid).with_name(f"image.new-{self.node}")
            self._discard(volume.uuid, new)
            if (kept := self.origin.of(volume)) is not None:
                self._clone(volume, kept, new)
            else:
                needed = driver_for(volume.options).initial
                require_room(self.store.root, size=volume.options.size or 0, needed=needed)
                self._format(volume, new)
            files.link_into_place(new, self.image(volume.uuid))

    def mount(self, volume: Volume[TreeOptions], target: Path, *, read_only: bool) -> None:
        """Make the data appear at the mount point `target`. The source is open."""
        image = self.image(volume.uuid)
        if not image.is_file():
            raise Damaged(f"the data of volume {volume.name} are missing: no file {image}")
        with (
            self.locked(volume.uuid),
            self._device(volume) as device,
            self._staged(volume, device) as stage,
        ):
            if not (stage / "data").is_dir():
                raise Damaged(f"the image of volume {volume.name} has no directory `data`: {image}")
            if self.growing(volume.uuid).exists():
                self.finish_growth(volume, device, stage)
            if read_only:
                self.staging.make_read_only(stage)
            mounts.bind(stage / "data", target)

    def copy_out(
        self, volume: Volume[TreeOptions], into: Path, attachment: Attachment | None
    ) -> None:
        """See `snapshots.Copied`. While attached, the file system is held still."""
        image = self.image(volume.uuid)
        if self.growing(volume.uuid).exists():
            (into / "growing").touch(mode=0o600)
        if attachment is None:
            with self.locked(volume.uuid):
                copy_file(image, into / "image")
        else:
            with self.freezer.frozen(volume.uuid, attachment.target):
                copy_file(image, into / "image", seconds=SECONDS)

    def copy_back(self, volume: Volume[TreeOptions], kept: Path) -> None:
        """See `snapshots.Copied`."""
        with self.locked(volume.uuid):
            new = self.image(volume.uuid).with_name(f"image.new-{self.node}")
            self._discard(volume.uuid, new)
            copy_file(kept / "image", new)
            self._note_growth(volume, kept)
            new.rename(self.image(volume.uuid))
            files.sync_directory(new.parent)

    def size(self, kept: Path) -> int | None:
        """See `snapshots.Copied`."""
        return (kept / "image").stat().st_size

    def owner(self, mount: mountinfo.Mount) -> Owner | None:
        """(uuid, healthy) when `mount` shows a volume of this store. A file system that met an
        error stops writing and says so in its options."""
        number = loop.number_of(mount.device)
        if number is None or mount.root != ROOT:
            return None
        owner = self.source.image_owner(number)
        stopped = {"ro", "shutdown", "emergency_ro"} & mount.super_options
        return None if owner is None else (owner[0], owner[1] and not stopped)

    def holds(self, number: int, uuid: str) -> bool:
        """Whether the device is still one of this volume."""
        owner = self.source.image_owner(number) if loop.in_use(number) else None
        return owner is not None and owner[0] == uuid

    @contextmanager
    def _device(self, volume: Volume[TreeOptions]) -> Iterator[loop.Status]:
        """The image as a device: the one that holds it already, or else a new one. Containers
        that outlived this service still use theirs; a second one would corrupt the image."""
        image, name = self.image(volume.uuid), label(volume.uuid, self.store.check())
        found = loop.find(image)
        if found is None:
            self._prepare(volume, image)
            with loop.attached(image, label=name) as device:
                yield device
            return
        with loop.opened(found.number, os.O_RDONLY):  # from now on it cannot vanish
            if loop.status(found.number) != found:
                raise InUse(f"the device of volume {volume.name} is being let go; try again")
            if found.label != name:
                raise InUse(
                    f"the image of volume {volume.name} is attached to /dev/loop{found.number} by "
                    f"something else; detach it with `losetup -d /dev/loop{found.number}`"
                )
            yield found

    def _prepare(self, volume: Volume[TreeOptions], image: Path) -> None:
        """Repair, and grow as far as that is possible, while nothing uses the image."""
        driver, size = driver_for(volume.options), volume.options.size or 0
        driver.repair(image)
        if not self.growing(volume.uuid).exists():
            return
        if image.stat().st_size < size:
            os.truncate(image, size)
        if driver.grow_unmounted(image, size):
            self.growing(volume.uuid).unlink()

    def finish_growth(self, volume: Volume[TreeOptions], device: loop.Status, at: Path) -> bool:
        """Grow the mounted file system to fill its device. False: only possible unmounted."""
        loop.refresh_size(device.number)
        driver, size = driver_for(volume.options), volume.options.size or 0
        if not driver.grow_mounted(loop.node(device.number), at, size):
            return False
        self.growing(volume.uuid).unlink(missing_ok=True)
        return True

    @contextmanager
    def _staged(self, volume: Volume[TreeOptions], device: loop.Status) -> Iterator[Path]:
        """The device's file system, mounted at a stage for the block."""
        driver = driver_for(volume.options)
        with self.staging.place(volume.uuid) as stage:
            try:
                mounts.mount(
                    loop.node(device.number), stage, driver.name, options=driver.mount_options
                )
            except OSError as error:
                raise HostError(
                    f"the {driver.name} image of volume {volume.name} cannot be mounted "
                    f"({error.strerror}); {driver.advice(self.image(volume.uuid))}"
                ) from error
            yield stage

    def _format(self, volume: Volume[TreeOptions], new: Path) -> None:
        options = volume.options
        with explained(f"make the image of volume {volume.name}"):
            files.make_sparse(new, options.size or 0)
            driver_for(options).make(new, label=volume.name)
            with (
                loop.attached(new, label=label(volume.uuid, "new")) as device,
                self._staged(volume, device) as stage,
            ):
                files.make_owned_directory(
                    stage / "data", uid=options.uid, gid=options.gid, mode=options.mode
                )
            self._released(volume.name, device)
            files.sync_file(new)

    def _clone(self, volume: Volume[TreeOptions], kept: Path, new: Path) -> None:
        size, asked = (kept / "image").stat().st_size, volume.options.size or 0
        if asked < size:
            raise Invalid(f"volume {volume.name} needs size={Size(size)}, as what it is made from")
        copy_file(kept / "image", new)
        self._note_growth(volume, kept)

    def _note_growth(self, volume: Volume[TreeOptions], kept: Path) -> None:
        """The next attach grows a copy that is smaller than the volume shall be."""
        smaller = (kept / "image").stat().st_size < (volume.options.size or 0)
        if smaller or (kept / "growing").exists():
            self.growing(volume.uuid).touch(mode=0o600)
            files.sync_directory(self.growing(volume.uuid).parent)

    def _released(self, name: str, device: loop.Status) -> None:
        if not loop.wait_released(device.number, device.file, _RELEASE_SECONDS):
            raise HostError(
                f"/dev/loop{device.number} still holds the new image of volume {name}, although "
                "it is unmounted; some process may have copied the mount"
            )

    def _discard(self, uuid: str, new: Path) -> None:
        """Take away what a crash left of an earlier attempt of this node."""
        self.staging.clear(uuid)
        if not new.exists():
            return
        if (device := loop.find(new)) is not None:
            self._released(uuid, device)
        new.unlink()

    @contextmanager
    def locked(self, uuid: str) -> Iterator[None]:
        """Nobody else on this machine works on the volume's image during the block."""
        with locked(self.source.directory(uuid) / "lock", _LOCK_SECONDS):
            yield

    def growing(self, uuid: str) -> Path:
        """There while the file system may be smaller than the volume's size."""
        return self.source.directory(uuid) / "growing"

    def image(self, uuid: str) -> Path:
        """The file."""
        return self.source.directory(uuid) / "image"


def driver_for(options: TreeOptions) -> BlockFileSystem:
    """What handles the file system of a volume with these options."""
    return driver_of(options.fs or FileSystem.EXT4)
