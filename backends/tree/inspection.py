"""Looking images over, and carrying content away as one stream."""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from backends.base import Finding, Level, Volume
from backends.errors import Damaged, InUse, NotSupported
from backends.host.copying import used
from backends.inspection import Exported, Progress, Sink
from backends.tree.image import ImageLayout, driver_for
from backends.tree.options import Layout, TreeOptions
from backends.tree.snapshots import home_of, kept_at
from backends.tree.source import Source, opened

_CHUNK = 1024**2


@dataclass(frozen=True)
class Inspection:
    """See `backends.inspection`."""

    source: Source
    image: ImageLayout

    def fsck(
        self, volume: Volume[TreeOptions], progress: Progress, *, attached: bool
    ) -> Sequence[Finding]:
        """As `Checkable.fsck` says: the file system's own check, read-only."""
        if volume.options.settled().layout is not Layout.IMAGE:
            raise NotSupported(
                f"volume {volume.name} is a plain directory: its file system is for its own tools "
                "to check; kedge checks layout=image"
            )
        if attached:
            raise InUse(
                f"volume {volume.name} can only be checked while nobody has it mounted; check a "
                "clone of it (-o from=)"
            )
        self.source.refuse_use(volume.uuid)
        progress(0, 1)
        with opened(self.source, volume.uuid), self.image.locked(volume.uuid):
            words = driver_for(volume.options).examine(self.image.image(volume.uuid))
        progress(1, 1)
        if words:
            advice = driver_for(volume.options).advice(self.image.image(volume.uuid))
            return [Finding(Level.ERROR, f"volume {volume.name}", words, advice)]
        return [Finding(Level.OK, f"volume {volume.name}", "its file system is sound")]

    def export(
        self, volume: Volume[TreeOptions], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        """As `Exportable.export` says."""
        if snapshot is None:
            self.source.refuse_use(volume.uuid)
        with opened(self.source, volume.uuid):
            at = self.source.directory(volume.uuid)
            if snapshot is not None:
                at = kept_at(home_of(self.source, volume.uuid), volume.name, snapshot)
            if volume.options.settled().layout is Layout.IMAGE:
                return _disk(at / "image", to, progress)
            if not (at / "data").is_dir():
                raise Damaged(f"the data of volume {volume.name} are missing: no {at / 'data'}")
            return _archive(at / "data", to, progress)


def _disk(image: Path, to: Sink, progress: Progress) -> Exported:
    total, done = image.stat().st_size, 0
    with image.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            to.write(chunk)
            done += len(chunk)
            progress(done, total)
    return Exported("disk", done)


@dataclass
class _Counted:
    """A sink that knows how much went into it."""

    to: Sink
    progress: Progress
    total: int
    done: int = 0

    def write(self, data: bytes) -> int:
        self.to.write(data)
        self.done += len(data)
        self.progress(min(self.done, self.total), self.total)
        return len(data)


def _archive(data: Path, to: Sink, progress: Progress) -> Exported:
    counted = _Counted(to, progress, max(used(data), 1))
    stream = cast(IO[bytes], counted)  # a pipe: written in order, nothing else
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.add(data, arcname=".")
    return Exported("tar", counted.done)
