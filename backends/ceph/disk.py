"""Layout `disk`: an RBD image named by the volume's uuid, with a file system of its own.

    image ──> its client ──> loop device ──> mounted at a stage ──> its `data` bound to the target

The stage is unmounted again, so one mount remains. Two clients may open an image and mount its
file system at once without a word: so a client is written down before the file system is touched,
and whoever takes over blocklists those and all that the image itself knows of.

A client that was shut out may leave whoever asks it waiting in the kernel: nothing here touches
its file, and its state is read from /proc and /sys alone.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backends.base import Attachment, Volume
from backends.ceph.clients import ImageClients
from backends.ceph.disk_snapshots import DiskSnapshots
from backends.ceph.failures import Absent
from backends.ceph.fencing import Fence
from backends.ceph.images import Images
from backends.ceph.layout import ROOT, Place
from backends.ceph.options import CephOptions
from backends.ceph.sessions import Session
from backends.ceph.working import Workers, image_of
from backends.errors import Conflict, Damaged, HostError, InUse
from backends.host import files, loop, mounts
from backends.host.filesystems import BlockFileSystem, FileSystem, driver_of
from backends.host.mountinfo import Mount
from backends.host.waiting import wait_until
from backends.mounting import detaching
from backends.options import Size

_RELEASE_SECONDS = 5.0
_STOPPED = {"ro", "shutdown", "emergency_ro"}


@dataclass(frozen=True)
class DiskLayout:
    """See `layout.Layout`."""

    fresh: ClassVar[bool] = False

    place: Place
    images: Images
    client: ImageClients
    workers: Workers

    @property
    def snapshots(self) -> DiskSnapshots:
        return DiskSnapshots(self.images, self.place.freezer, self.workers.bury)

    def make(self, volume: Volume[CephOptions]) -> None:
        image = image_of(volume.uuid)
        with self.place.locked(volume.uuid):
            if self.images.exists(image):
                return
            new = self._making(volume.uuid)
            self._clear(f"new-{volume.uuid}")
            self._remove_unfinished(new)
            if (origin := self.place.origin(volume)) is not None:
                self.snapshots.copy(*origin, volume, new)
            else:
                self.images.create(new, volume.options.size or 0)
                self._format(volume, new)
                self._break_watches(new)  # of a client that had to be killed
            with contextlib.suppress(Conflict):  # another node was faster
                self.images.rename(new, image)
                return
            self._remove_unfinished(new)

    def delete(self, volume: Volume[CephOptions]) -> None:
        image = image_of(volume.uuid)
        with self.place.locked(volume.uuid):
            self._clear(volume.uuid)
            self._clear(f"new-{volume.uuid}")
            self._delete(volume, image)
        self.place.sessions.forget(volume.uuid)
        self.place.forget_lock(volume.uuid)

    def _delete(self, volume: Volume[CephOptions], image: str) -> None:
        """Under the node's lock: another process of this node would take this one for dead."""
        # Not who merely has it open: that may be another node that deletes it, too.
        self.workers.bury(volume.uuid)
        known = self.place.sessions.of(volume.uuid)
        self.shut_out(volume.uuid, [one for one in known if not one.work])
        with contextlib.suppress(Absent):
            for snapshot in self.snapshots.all(volume):
                self.images.remove_snapshot(image, snapshot)
        self.images.remove(image)
        self._remove_unfinished(self._making(volume.uuid))

    def where(self, volume: Volume[CephOptions]) -> str:
        return f"rbd {self.place.settings.pool}/{image_of(volume.uuid)}"

    def mount(
        self, volume: Volume[CephOptions], target: Path, *, read_only: bool, epoch: int
    ) -> None:
        with (
            self.place.locked(volume.uuid),
            self._device(volume, epoch) as device,
            self._staged(volume, device, volume.uuid) as stage,
        ):
            if not (stage / "data").is_dir():
                raise Damaged(
                    f"the data of volume {volume.name} are missing: {self.where(volume)} has no "
                    "directory `data`"
                )
            if self.images.growing(image_of(volume.uuid)):
                self._finish_growth(volume, device, stage)
            if read_only:
                self.place.staging.make_read_only(stage)
            mounts.bind(stage / "data", target)

    def owner(self, mount: Mount) -> tuple[str, bool] | None:
        number = loop.number_of(mount.device)
        if number is None or mount.root != ROOT:
            return None
        file = Path(loop.backing_file(number))
        uuid = file.parent.name
        if file != self._file(uuid):
            return None
        return uuid, not _STOPPED & mount.super_options and self.client.alive(uuid)

    def carrier(self) -> str:
        return self.client.chosen()

    def release(self, attachment: Attachment) -> None:
        uuid = attachment.uuid
        with self.place.locked(uuid):
            self.place.staging.clear(uuid)
            detaching.await_release(attachment, lambda: self._held(uuid) is None)
            self.client.close(uuid)
            own = self.place.own(uuid)
            lingering = self._watchers(uuid) & {one.address for one in own}
            Fence(self.place.cluster).blocklist(lingering)  # of one that had to be killed
            self.place.sessions.drop(uuid, own)

    def tidy(self, uuid: str) -> None:
        """A client without a device has written nothing; the cluster may know it before our
        record does."""
        with self.place.locked(uuid):
            self.place.staging.clear(uuid)
            if self._held(uuid) is None:
                self.client.close(uuid)
        self.workers.bury(uuid)

    def give_up(self, uuid: str) -> None:
        """Whoever shuts a client out strikes it out."""
        in_use = self.client.alive(uuid) and self._held(uuid) is not None
        if in_use and not self.place.own(uuid):
            self.client.kill(uuid)

    def clients(self, uuid: str) -> list[Session]:
        known, watchers = self.place.sessions.of(uuid), self._watchers(uuid)
        strange = watchers - {one.address for one in known}
        spared = (
            self.place.own(uuid) if self.client.alive(uuid) and self._held(uuid) is not None else []
        )
        found = [one for one in self.workers.counting(known, watchers) if one not in spared]
        return found + [Session("?", address) for address in sorted(strange)]

    def shut_out(self, uuid: str, clients: Sequence[Session]) -> None:
        if not clients:
            return
        fence = Fence(self.place.cluster)
        fence.blocklist(one.address for one in clients)
        with contextlib.suppress(Absent):
            self.images.break_locks(image_of(uuid), {one.address for one in clients})
        fence.blocklist(one.address for one in clients)  # breaking a lock set an hour
        self.place.sessions.drop(uuid, clients)

    def grow(self, volume: Volume[CephOptions], size: Size, attachment: Attachment | None) -> bool:
        image = image_of(volume.uuid)
        with self.place.locked(volume.uuid):
            self.workers.bury(volume.uuid)
            if self.images.size(image) < size:
                self.images.grow(image, size)
            if not self.images.growing(image):
                return True
            device = self._held(volume.uuid)
            if attachment is None or device != loop.number_of(attachment.device):
                return False
            if (file := self.client.file(image, volume.uuid)) is not None:
                file.stat()  # else the kernel goes on believing the old size
            return self._finish_growth(volume, device or 0, attachment.target)

    def _watchers(self, uuid: str) -> set[str]:
        with contextlib.suppress(Absent):
            return self.images.watchers(image_of(uuid))
        return set()

    @contextlib.contextmanager
    def _device(self, volume: Volume[CephOptions], epoch: int) -> Iterator[int]:
        """The image as a loop device: the one that holds it already (containers may have outlived
        this service), or else a new one; its number."""
        held = self._held(volume.uuid)
        if held is not None and self.client.alive(volume.uuid):
            with loop.opened(held, os.O_RDONLY):  # from now on it cannot vanish
                if self._held(volume.uuid) != held:
                    raise InUse(f"the device of volume {volume.name} is being let go; try again")
                yield held
            return
        if held is not None:
            raise InUse(
                f"the client of volume {volume.name} has died, and processes still use what it "
                "served; stop its containers"
            )
        file = self._open(volume, epoch)
        try:
            self._prepare(volume, file)
            with loop.attached(file, label=self._label(volume.uuid)) as device:
                yield device.number
        except BaseException:
            if self._free(volume.uuid):
                self.client.close(volume.uuid)
            raise

    def _open(self, volume: Volume[CephOptions], epoch: int) -> Path:
        """The image as a file, its client written down."""
        image = image_of(volume.uuid)
        try:
            self.snapshots.settle(volume.uuid, epoch)
            before = self.images.watchers(image)
            file = self.client.open(image, volume.uuid)
            mine = self.images.watchers(image) - before
        except Absent as error:
            raise Damaged(
                f"the data of volume {volume.name} are missing: there is no {self.where(volume)}"
            ) from error
        try:
            for address in mine:
                session = Session(self.place.node, address, epoch=epoch)
                self.place.sessions.add(volume.uuid, session)
            if not mine and not self.place.own(volume.uuid):
                raise HostError(f"{self.where(volume)} does not show who opened it; try again")
        except BaseException:
            self.client.close(volume.uuid)
            raise
        return file

    def _prepare(self, volume: Volume[CephOptions], file: Path) -> None:
        """Repair, and grow as far as that is possible, while nothing uses the image."""
        driver, image = _driver(volume), image_of(volume.uuid)
        driver.repair(file)
        if self.images.growing(image) and driver.grow_unmounted(file, self.images.size(image)):
            self.images.grown(image)

    def _finish_growth(self, volume: Volume[CephOptions], device: int, at: Path) -> bool:
        """Grow the mounted file system to fill its device. False: only possible unmounted."""
        loop.refresh_size(device)
        size = self.images.size(image_of(volume.uuid))
        if not _driver(volume).grow_mounted(loop.node(device), at, size):
            return False
        self.images.grown(image_of(volume.uuid))
        return True

    def _format(self, volume: Volume[CephOptions], new: str) -> None:
        options, place = volume.options, f"new-{volume.uuid}"
        try:
            file = self.client.open(new, place)
            _driver(volume).make(file, label=volume.name)
            with (
                loop.attached(file, label=self._label(place)) as device,
                self._staged(volume, device.number, place) as stage,
            ):
                files.make_owned_directory(
                    stage / "data", uid=options.uid, gid=options.gid, mode=options.mode
                )
            if not self._free(place):
                raise HostError(f"a loop device still holds the new image {new}")
            files.sync_file(file)
        finally:
            self._clear(place)

    @contextlib.contextmanager
    def _staged(self, volume: Volume[CephOptions], device: int, place: str) -> Iterator[Path]:
        """The device's file system, mounted at a stage for the block."""
        driver, node = _driver(volume), loop.node(device)
        with self.place.staging.place(place) as stage:
            try:
                mounts.mount(node, stage, driver.name, options=driver.mount_options)
            except OSError as error:
                raise HostError(
                    f"the {driver.name} of volume {volume.name} cannot be mounted "
                    f"({error.strerror}); {driver.advice(node)}"
                ) from error
            yield stage

    def _clear(self, place: str) -> None:
        """Take away what is left of working on an image that nobody uses."""
        self.place.staging.clear(place)
        if not self._free(place):
            raise HostError(
                f"a loop device still holds the new image of {place}; look at `losetup`"
            )
        self.client.close(place)

    def _remove_unfinished(self, new: str) -> None:
        """An image of this name is this node's alone, and nothing here works on it any more."""
        with contextlib.suppress(Absent):
            self._break_watches(new)
        self.images.remove(new)

    def _break_watches(self, new: str) -> None:
        """Of everybody but this process, which has one only while it does something."""
        dead = self.images.watchers(new) - {self.place.cluster.address()}
        Fence(self.place.cluster).blocklist(dead)

    def _free(self, place: str) -> bool:
        return wait_until(lambda: self._held(place) is None, _RELEASE_SECONDS)

    def _held(self, place: str) -> int | None:
        """The number of the loop device that has a volume's image on this node."""
        return loop.backed_by(self._file(place))

    def _file(self, place: str) -> Path:
        """Where an image is, or would be, a file on this node."""
        uuid = place.removeprefix("new-")
        image = self._making(uuid) if place != uuid else image_of(uuid)
        return self.client.mountpoint(place) / image

    def _making(self, uuid: str) -> str:
        """The name of an image until it is whole."""
        return f"{image_of(uuid)}.new-{self.place.node}"

    def _label(self, place: str) -> str:
        """What `losetup` shows."""
        return f"kedge:{place}:{self.place.mark}"


def _driver(volume: Volume[CephOptions]) -> BlockFileSystem:
    return driver_of(volume.options.fs or FileSystem.EXT4)
