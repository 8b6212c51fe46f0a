"""The reference backend. See the package."""

import errno
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from backends.base import (
    Access,
    Attachment,
    Capabilities,
    Context,
    Fencing,
    Finding,
    Growth,
    Level,
    Occupant,
    ProfileSettings,
    Removed,
    Spec,
    Usage,
    Volume,
)
from backends.catalog import CatalogedBackend
from backends.claims import Claim
from backends.errors import Exists, HostError, InUse, Invalid, NoSpace, NotFound, NotSupported
from backends.inspection import Exported, Progress, Sink
from backends.memory.world import SimulatedMount, SimulatedRecords, World, world
from backends.options import Size, option
from backends.progress import tell
from backends.sizes import check_shrinking
from backends.snapshots import Snapshot, SnapshotOptions

DEVICE = "0:77"
"""The major:minor of every simulated mount."""


@dataclass(frozen=True)
class MemorySettings(ProfileSettings):
    """Backends with the same `world` share their storage; those with the same node, a kernel."""

    world: str = option("default", help="which simulated world the profile lives in")


@dataclass(frozen=True)
class MemoryOptions(SnapshotOptions):
    """Options of a simulated volume."""

    size: Size | None = option(None, help="how much the volume may hold")


@dataclass(frozen=True)
class MemoryData:
    """See `backends.catalog.Data`."""

    world: World
    get: Callable[[str], Volume[MemoryOptions]]

    def make(self, volume: Volume[MemoryOptions]) -> None:
        if volume.uuid in self.world.files:
            return
        content = self._content(volume.options)
        self.world.effect(f"make {volume.uuid}")
        if self.world.capacity is not None and len(self.world.files) >= self.world.capacity:
            raise NoSpace(f"no room for volume {volume.name}")
        self.world.files.setdefault(volume.uuid, content)

    def delete(self, volume: Volume[MemoryOptions]) -> None:
        self.world.effect(f"delete {volume.uuid}")
        self.world.files.pop(volume.uuid, None)
        self.world.snapshots.pop(volume.uuid, None)

    def _content(self, options: MemoryOptions) -> dict[str, bytes]:
        """What a new volume has: nothing, or what its source had."""
        if options.from_ is None:
            return {}
        source = self.get(options.from_.volume)
        if (options.size or 0) < (source.options.size or 0):
            raise Invalid(f"size={options.size} is less than that of {source.name}")
        copy = dict(taken(self.world, source, options.from_.snapshot))
        tell(1, 1)
        return copy

    def where(self, volume: Volume[MemoryOptions]) -> str:
        return f"memory:{volume.uuid}"


class MemoryBackend(CatalogedBackend[MemorySettings, MemoryOptions]):
    """Volumes in a simulated world; also Resizable, Trash and Snapshots."""

    Settings: ClassVar[type[MemorySettings]] = MemorySettings
    Options: ClassVar[type[MemoryOptions]] = MemoryOptions

    def __init__(self, settings: MemorySettings, context: Context) -> None:
        super().__init__(settings, context)
        self.world = world(settings.world)
        self.kernel = self.world.kernels[context.node]
        self._keep_in(SimulatedRecords(self.world), MemoryData(self.world, self.get))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(everywhere=True, access=frozenset(Access), fencing=Fencing.STORE)

    def create(self, spec: Spec[MemoryOptions]) -> Volume[MemoryOptions]:
        self._starts("create")
        return super().create(spec)

    def abandon(self, name: str, uuid: str) -> None:
        self._starts("abandon")
        super().abandon(name, uuid)

    def remove(self, volume: Volume[MemoryOptions]) -> Removed:
        self._starts("remove")
        return super().remove(volume)

    def get(self, name: str) -> Volume[MemoryOptions]:
        self._starts("get")
        return super().get(name)

    def volumes(self) -> Sequence[Volume[MemoryOptions]]:
        self._starts("volumes")
        return super().volumes()

    def attach(
        self,
        volume: Volume[MemoryOptions],
        target: Path,
        *,
        claim: Claim | None,
        read_only: bool = False,
    ) -> Attachment:
        self._starts("attach")
        self._catalog.current(volume)
        mounted = self.kernel.mounts.get(target)
        if mounted is not None and mounted.uuid != volume.uuid:
            raise HostError(f"something else is mounted at {target}; unmount it")
        if mounted is None or not mounted.healthy:
            if target in self.kernel.litter:
                raise HostError(f"mount point {target} is not empty; move the files elsewhere")
            self.world.effect(f"mount {target}")
            mounted = self.kernel.mounts[target] = SimulatedMount(volume.uuid, read_only)
        return _attachment(target, mounted)

    def detach(self, attachment: Attachment) -> None:
        self._starts("detach")
        mounted = self.kernel.mounts.get(attachment.target)
        if mounted is not None and mounted.uuid == attachment.uuid:
            self.world.effect(f"unmount {attachment.target}")
            self.kernel.mounts.pop(attachment.target, None)
        if users := self.kernel.occupants.get(attachment.uuid):
            raise InUse(f"volume {attachment.name} is still held by {users[0].command}")

    def attachments(self) -> Sequence[Attachment]:
        self._starts("attachments")
        mounts = self.kernel.mounts.copy()  # other threads go on mounting
        ours = [target for target in sorted(mounts) if target.parent == self.context.mounts]
        return [_attachment(target, mounts[target]) for target in ours]

    def occupants(self, attachments: Sequence[Attachment]) -> Mapping[str, Sequence[Occupant]]:
        self._starts("occupants")
        found = {one.name: tuple(self.kernel.occupants.get(one.uuid, ())) for one in attachments}
        return {name: users for name, users in found.items() if users}

    def usage(self, attachment: Attachment) -> Usage:
        self._starts("usage")
        files = self.world.files.get(attachment.uuid, {})
        sizes = {v.uuid: v.options.size for v in self._catalog.volumes()}
        used = sum(len(content) for content in files.values())
        return Usage(size=sizes.get(attachment.uuid), used=used)

    def resize(self, name: str, size: Size, attachment: Attachment | None) -> Growth:
        self._starts("resize")
        volume = self._catalog.get(name)
        if volume.options.size is None:
            raise NotSupported(f"volume {name} has no size")
        check_shrinking(name, volume.options.size, size)
        if size != volume.options.size:
            self._catalog.resize(volume, replace(volume.options, size=size))
        return Growth.ONLINE

    def snapshot_create(
        self,
        volume: Volume[MemoryOptions],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        self._starts("snapshot_create")
        there = self.world.snapshots.setdefault(volume.uuid, {})
        if name in there:
            raise Exists(f"volume {volume.name} has a snapshot {name!r}; choose another name")
        self.world.effect(f"snapshot {volume.uuid} {name}")
        there[name] = (created, dict(self.world.files[volume.uuid]))
        tell(1, 1)
        return _snapshot(volume, name, there[name])

    def snapshot_list(self, volume: Volume[MemoryOptions]) -> Sequence[Snapshot]:
        self._starts("snapshot_list")
        there = self.world.snapshots.get(volume.uuid, {}).copy()
        found = [_snapshot(volume, name, there[name]) for name in there]
        return sorted(found, key=lambda one: (one.created, one.name))

    def snapshot_remove(
        self, volume: Volume[MemoryOptions], name: str, *, claim: Claim | None
    ) -> None:
        self._starts("snapshot_remove")
        self.world.effect(f"remove snapshot {volume.uuid} {name}")
        self.world.snapshots.get(volume.uuid, {}).pop(name, None)

    def snapshot_restore(
        self, volume: Volume[MemoryOptions], name: str, *, claim: Claim | None
    ) -> None:
        self._starts("snapshot_restore")
        content = dict(taken(self.world, volume, name))
        self.world.effect(f"restore {volume.uuid} {name}")
        self.world.files[volume.uuid] = content
        tell(1, 1)

    def fsck(
        self, volume: Volume[MemoryOptions], progress: Progress, *, attached: bool
    ) -> Sequence[Finding]:
        self._starts("fsck")
        files = self.world.files[volume.uuid]
        progress(len(files), len(files))
        return [Finding(Level.OK, f"volume {volume.name}", f"{len(files)} files")]

    def export(
        self, volume: Volume[MemoryOptions], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        self._starts("export")
        files: Mapping[str, bytes] = self.world.files[volume.uuid]
        if snapshot is not None:
            files = taken(self.world, volume, snapshot)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, data in files.items():
                facts = tarfile.TarInfo(name)
                facts.size = len(data)
                archive.addfile(facts, io.BytesIO(data))
        to.write(content.getvalue())
        progress(1, 1)
        return Exported("tar", len(content.getvalue()))

    # -- what a container would do ----------------------------------------------------------

    def write(self, attachment: Attachment, name: str, content: bytes) -> None:
        """Write a file through a mount. OSError when there is none, or a read-only one."""
        mounted = self.kernel.mounts.get(attachment.target)
        if mounted is None:
            raise FileNotFoundError(errno.ENOENT, "nothing is mounted", str(attachment.target))
        if mounted.read_only:
            raise OSError(errno.EROFS, "Read-only file system", str(attachment.target))
        self.world.files[mounted.uuid][name] = content

    def read(self, attachment: Attachment) -> Mapping[str, bytes]:
        """All files, through a mount."""
        return dict(self.world.files[self.kernel.mounts[attachment.target].uuid])

    def _starts(self, verb: str) -> None:
        hook = self.world.before.get(verb)
        if hook is not None:
            hook()


def taken(world: World, volume: Volume[MemoryOptions], snapshot: str) -> Mapping[str, bytes]:
    """The files in a snapshot. NotFound when there is none of that name."""
    there = world.snapshots.get(volume.uuid, {})
    if snapshot not in there:
        raise NotFound(f"volume {volume.name} has no snapshot {snapshot!r}")
    return there[snapshot][1]


def _snapshot(
    volume: Volume[MemoryOptions], name: str, content: tuple[str, dict[str, bytes]]
) -> Snapshot:
    created, files = content
    return Snapshot(name, created, volume.options.size, sum(map(len, files.values())))


def _attachment(target: Path, mounted: SimulatedMount) -> Attachment:
    return Attachment(
        target.name, mounted.uuid, target, DEVICE, f"/{mounted.uuid}", mounted.healthy
    )
