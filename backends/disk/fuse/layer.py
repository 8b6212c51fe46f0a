"""The files of a volume: a file system on a loop device on the disk of a data path.

    fuse/disk ──> loop device (direct I/O, 4096) ──> mounted at a private stage ──> its `data`
                                                                    bound to the target

As with an image on a local disk, the stage is unmounted again and one mount remains; the file
system's own root is never handed out. The loop device frees itself with its last user. Everything
is undone in the opposite order, each step within a time limit.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backends.disk.device import BLOCK
from backends.disk.fuse.path import DataPath
from backends.errors import Damaged, HostError, InUse, Unavailable
from backends.host import files, loop, mountinfo, mounts, targets
from backends.host.bounded import Bounded
from backends.host.failures import explained
from backends.host.filesystems import BlockFileSystem
from backends.host.staging import Staging
from backends.host.waiting import wait_until

ROOT = "/data"
"""What mountinfo shows as the root of a volume's mount."""
_ABORT_SECONDS = 10.0


@dataclass(frozen=True)
class Layer:
    """`path` must be open for everything but `unmount`. `label`: what `losetup` shows, at most 63
    bytes, and how a mount is known to be this volume's. `driver`: of the file system."""

    path: DataPath
    label: str
    driver: BlockFileSystem
    staging: Staging

    @property
    def _key(self) -> str:
        return self.path.directory.name

    def format(self, *, name: str, uid: int, gid: int, mode: int) -> None:
        """Make the file system and its `data` directory, durably. Whatever was on the disk is
        gone; it must read as zeros where nothing was written."""
        with self._device() as device:
            self.driver.make(loop.node(device.number), label=name)
            with self._staged(device) as stage:
                files.make_owned_directory(stage / "data", uid=uid, gid=gid, mode=mode)
        self._await_released(device, _ABORT_SECONDS)

    def mount(self, target: Path, *, read_only: bool = False, size: int = 0) -> None:
        """Make `data` appear at the mount point `target`, with a file system of at least `size`
        bytes. Damaged when it needs a person, HostError when the kernel refuses it."""
        with self._device() as device:
            node, small = loop.node(device.number), False
            if not self._mounted(device):
                self.driver.repair(node)
                small = self.driver.size(node) < size and not self.driver.grow_unmounted(node, size)
            with self._staged(device) as stage:
                if small:
                    self.driver.grow_mounted(node, stage, size)
                if not (stage / "data").is_dir():
                    raise Damaged(f"the disk of {self.path.name} has no directory `data`")
                if read_only:
                    self.staging.make_read_only(stage)
                mounts.bind(stage / "data", target)

    def unmount(self, target: Path, seconds: float, *, force: bool = False) -> None:
        """Unmount, release the loop device; the data path stays open. Nothing there: does nothing.

        InUse while somebody holds the files; Unavailable when the disk takes no writes within
        `seconds` (call again). `force`: the connection is cut off then, and what the files had not
        flushed is lost; also for a data path that is dead. Each step is bounded."""
        self._take_off(target, seconds, force=force)
        targets.clear(target)
        self.release(seconds)

    def release(self, seconds: float) -> None:
        """Wait until the loop device is free, once nothing is mounted but what a crash may have
        left on the stage. InUse: it is not."""
        self.unstage()
        device = self.device()
        if device is not None:
            self._await_released(device, seconds)

    def unstage(self) -> None:
        """Take off what a crash left on the stage, where it holds the loop device."""
        self.staging.clear(self._key)

    def grow(self, target: Path, size: int, seconds: float) -> bool:
        """Grow the disk, the loop device and the file system while they are used. False: the file
        system grows with the next mount."""
        self.path.resize(size, seconds)
        device = self.device()
        if device is None:
            return False
        loop.refresh_size(device.number)
        node = loop.node(device.number)
        return self.driver.size(node) >= size or self.driver.grow_mounted(node, target, size)

    def healthy(self) -> bool:
        """Whether the connection stands and the file system has not stopped writing."""
        device = self.device() if self.path.alive() else None
        return device is not None and not any(
            {"ro", "shutdown", "emergency_ro"} & mount.super_options
            for mount in mountinfo.read()
            if mount.device == device.device
        )

    def device(self) -> loop.Status | None:
        """The loop device with this volume's label. Only devices whose file can be a disk of this
        volume are asked: asking asks the file's storage, and somebody else's may hang."""
        mine = {self.path.file.parts[-2:], ("/", self.path.file.name)}  # alive, or cleared away
        for entry in Path("/sys/block").glob("loop[0-9]*"):
            with suppress(OSError):  # without a file, or its connection is cut off
                shown = (entry / "loop/backing_file").read_text().rstrip("\n")
                if Path(shown).parts[-2:] in mine:
                    found = loop.status(int(entry.name.removeprefix("loop")))
                    if found is not None and found.label == self.label:
                        return found
        return None

    def _mounted(self, device: loop.Status) -> bool:
        return any(mount.device == device.device for mount in mountinfo.read())

    @contextmanager
    def _device(self) -> Iterator[loop.Status]:
        """The disk as a loop device: the one there is, or else a new one."""
        found = self.device()
        if found is None:
            with loop.attached(self.path.file, label=self.label, block_size=BLOCK) as device:
                yield device
            return
        if found.file != loop.identity(self.path.file):
            raise InUse(
                f"/dev/loop{found.number} still holds an earlier disk of {self.path.name}; "
                "somebody has it mounted"
            )
        with loop.opened(found.number, os.O_RDONLY):  # from now on it cannot vanish
            if loop.status(found.number) != found:
                raise InUse(f"the device of {self.path.name} is being let go; try again")
            yield found

    @contextmanager
    def _staged(self, device: loop.Status) -> Iterator[Path]:
        with self.staging.place(self._key) as stage:
            try:
                mounts.mount(
                    loop.node(device.number),
                    stage,
                    self.driver.name,
                    options=self.driver.mount_options,
                )
            except OSError as error:
                raise HostError(
                    f"the {self.driver.name} file system of {self.path.name} cannot be mounted "
                    f"({error.strerror}); {self.driver.advice(loop.node(device.number))}"
                ) from error
            yield stage

    def _take_off(self, target: Path, seconds: float, *, force: bool) -> None:
        """Unmount what is mounted at `target`, if it is ours."""
        top = mountinfo.top(mountinfo.read(), os.path.abspath(target))
        if top is None or loop.number_of(top.device) is None:
            return
        call = Bounded(lambda: _unmount(target, seconds))
        if call.done(seconds + 1.0):
            return
        if not force:
            raise Unavailable(
                f"{target} cannot be unmounted within {seconds:.0f} s, because the disk takes no "
                "writes; it is still being tried"
            )
        self.path.abort()
        if not call.done(_ABORT_SECONDS):
            raise HostError(f"{target} cannot be unmounted although its disk was cut off")

    def _await_released(self, device: loop.Status, seconds: float) -> None:
        if not loop.wait_released(device.number, device.file, seconds):
            raise InUse(
                f"/dev/loop{device.number} still holds the disk of {self.path.name} although it "
                "is unmounted here; some process has copied the mount"
            )


def _unmount(target: Path, seconds: float) -> None:
    """Unmount, waiting for files that are open for a moment only."""
    with explained(f"unmount {target}"):
        if not wait_until(lambda: mounts.unmounted(target), seconds):
            raise InUse(f"a process has files open below {target} (`fuser -vm {target}`)")
