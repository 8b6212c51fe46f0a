"""`kedge doctor`: what could go wrong on this node, and what to do about it.

Every check yields findings; none raises. The service examines itself, because only it sees the
mounts, devices and settings that it works with.
"""

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from backends.base import Backend, Finding, Level
from backends.errors import KedgeError
from driver.ledger import Ledger
from driver.lifecycle import State
from driver.volumes import Volumes

OLDEST_KERNEL = (5, 8)
"""LOOP_CONFIGURE (atomic set-up of a loop device) came with 5.8."""


class Doctor:
    """Examines this node."""

    def __init__(self, volumes: Volumes, ledger: Ledger, kernel: str) -> None:
        self._volumes = volumes
        self._ledger = ledger
        self._kernel = kernel

    def examine(self) -> list[Finding]:
        """All findings, in the order in which they are best read."""
        checks = (
            self._kernel_version,
            self._devices,
            self._mount_directory,
            self._remembered,
            self._profiles,
            self._stale_mounts,
            self._name_clashes,
        )
        return [finding for check in checks for finding in check()]

    def _kernel_version(self) -> Iterator[Finding]:
        match = re.match(r"(\d+)\.(\d+)", self._kernel)
        if match and (int(match[1]), int(match[2])) >= OLDEST_KERNEL:
            yield Finding(Level.OK, "kernel", self._kernel)
        else:
            yield Finding(
                Level.WARNING,
                "kernel",
                f"{self._kernel} is older than {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]}",
                "layout=image needs a newer kernel; layout=directory works",
            )

    def _devices(self) -> Iterator[Finding]:
        # device nodes are made when they are needed: the kernel's word is what counts
        if re.search(r"^ *7 loop$", Path("/proc/devices").read_text(), re.MULTILINE):
            yield Finding(Level.OK, "loop devices", "available")
        else:
            yield Finding(
                Level.WARNING,
                "loop devices",
                "this kernel has none",
                "layout=image needs them: load the module `loop`",
            )

    def _mount_directory(self) -> Iterator[Finding]:
        mounts = self._volumes.settings.paths.mounts
        mountinfo = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        shared = mount_is_shared(mountinfo, mounts.resolve())
        if shared:
            yield Finding(Level.OK, "mount propagation", f"{mounts} is shared")
        else:
            yield Finding(
                Level.ERROR,
                "mount propagation",
                f"{mounts} is not on a shared mount: containers would not see volumes",
                f"mount --make-shared the mount that holds {mounts}",
            )

    def _remembered(self) -> Iterator[Finding]:
        if trouble := self._ledger.trouble:
            yield Finding(
                Level.ERROR,
                "ledger",
                trouble,
                "until then volumes are unmounted but not mounted",
            )
        elif aside := self._ledger.set_aside:
            yield Finding(
                Level.WARNING,
                "ledger",
                f"could not be trusted at the last start and was rebuilt; the old one is {aside}",
                "check the disk; delete the old file once you have looked at it",
            )
        else:
            yield Finding(Level.OK, "ledger", "sound")

    def _profiles(self) -> Iterator[Finding]:
        for profile, backend in self._volumes.backends.items():
            try:
                yield from self._volumes.bounded(
                    f"examining {profile}", partial(_examined, profile, backend)
                )
            except Exception as error:  # a fault of ours hides no other finding
                yield Finding(
                    Level.ERROR, f"profile {profile}", str(error), "make the storage reachable"
                )

    def _stale_mounts(self) -> Iterator[Finding]:
        for promise in self._volumes.ledger.promises().values():
            if promise.profile not in self._volumes.backends:
                yield Finding(
                    Level.ERROR,
                    f"volume {promise.name}",
                    f"belongs to profile {promise.profile}, which is not in the settings",
                    "bring the profile back",
                )
            elif promise.entry.state is State.ATTACHED and self._unseen(promise.name):
                yield Finding(
                    Level.ERROR,
                    f"volume {promise.name}",
                    "should be mounted and is not",
                    "it is mounted again within seconds; if not, see the log",
                )

    def _unseen(self, name: str) -> bool:
        promise = self._ledger.get(name)
        try:
            return promise is not None and self._volumes.attachments.shown(promise) is None
        except KedgeError:
            return True

    def _name_clashes(self) -> Iterator[Finding]:
        local = self._volumes.settings.paths.docker_root / "volumes"
        ours = {known.volume.name for known in self._volumes.inventory.all()}
        for name in sorted(ours & set(_listed(local))):
            yield Finding(
                Level.WARNING,
                f"volume {name}",
                "Docker's own driver `local` has a volume of the same name on this node",
                "name the driver wherever you use it, or remove the other: a container that "
                "names only the volume gets the local one",
            )


def mount_is_shared(mountinfo: str, path: Path) -> bool:
    """Whether the mount that holds `path` propagates what is mounted below it."""
    best, shared = "", False
    for line in mountinfo.splitlines():
        fields = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if Path(point) in (path, *path.parents) and len(point) >= len(best):
            best, shared = point, any(field.startswith("shared:") for field in fields[6:])
    return shared


def _examined(profile: str, backend: Backend[Any, Any], _: object) -> list[Finding]:
    """What the backend says itself, where it knows what is wrong, is worth more than that the
    volumes cannot be listed."""
    found, subject = list(backend.findings()), f"profile {profile}"
    try:
        backend.volumes()
    except KedgeError as error:
        if any(one.level is Level.ERROR for one in found):
            return found
        return [Finding(Level.ERROR, subject, str(error), "make the storage reachable"), *found]
    return [Finding(Level.OK, subject, "reachable"), *found]


def _listed(directory: Path) -> Iterable[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return ()
