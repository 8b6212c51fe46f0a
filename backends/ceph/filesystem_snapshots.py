"""Snapshots of subvolumes: CephFS's own, taken by the manager at once.

CephFS goes back to none and clones none by itself. The manager can copy one into a new subvolume,
but leaves behind hard links, extended attributes and devices; so the copying is done here, through
this node's client, by what keeps them all.

    going back    write record `restoring/<uuid>` ──> delete `data` ──> copy ──> remove the record

Whoever finds the record finishes that before anything else, so that to everybody the volume holds
the old content or the new one. The quota is off meanwhile: what was deleted a
moment ago still counts.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.base import Attachment, Volume
from backends.ceph import snapshot_names
from backends.ceph.ceph_fuse import CephFuse
from backends.ceph.commands import Subvolume
from backends.ceph.failures import Absent
from backends.ceph.fencing import Fence
from backends.ceph.layout import Place
from backends.ceph.options import CephOptions
from backends.errors import Damaged, Invalid, NotFound
from backends.host import files, trees
from backends.host.copying import copy_tree
from backends.records import Record
from backends.snapshots import Snapshot

_KIND = "restoring"
_END_SECONDS = 10.0
_READER = "kedge-reader"


@dataclass(frozen=True)
class FilesystemSnapshots:
    """See `layout.LayoutSnapshots`. `subvolume`: what names one to the manager; `reached`: its
    root on this node for the block, as a writer under an epoch; `reader`: what mounts one for
    reading only."""

    place: Place
    subvolume: Callable[[str], dict[str, str]]
    reached: Callable[[Volume[CephOptions], int], contextlib.AbstractContextManager[Path]]
    reader: CephFuse
    key_file: Callable[[str, str], contextlib.AbstractContextManager[Path]]

    def create(
        self,
        volume: Volume[CephOptions],
        name: str,
        created: str,
        attachment: Attachment | None,
        epoch: int,
    ) -> None:
        snapshot_names.refuse_taken(volume, name, self._names(volume))
        self._ask("create", volume, snapshot_names.written(name, created))

    def all(self, volume: Volume[CephOptions]) -> dict[str, Snapshot]:
        return snapshot_names.read(dict.fromkeys(self._names(volume)))

    def remove(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        with contextlib.suppress(NotFound, Absent):
            found = snapshot_names.found(volume, name, self._names(volume))
            if self._begun(volume.uuid) is not None:
                with self.reached(volume, epoch) as root:
                    self.finish(volume, root)
            self._ask("rm", volume, found)

    def restore(self, volume: Volume[CephOptions], name: str, epoch: int) -> None:
        found = snapshot_names.found(volume, name, self._names(volume))
        with self.reached(volume, epoch) as root:
            begun = self._begun(volume.uuid)
            expected = begun.version if begun else None
            key = f"{_KIND}/{volume.uuid}"
            self.place.records.put(key, found.encode(), expected=expected)
            self.finish(volume, root)

    def finish(self, volume: Volume[CephOptions], root: Path) -> None:
        """Finish going back, if that was cut off."""
        if (begun := self._begun(volume.uuid)) is None:
            return
        snapshot = begun.value.decode()
        self.limit(volume.uuid, None)
        trees.delete(root / "data")
        trees.delete(root / "data.new")
        copy_tree(_content(root, snapshot), root / "data.new")
        os.rename(root / "data.new", root / "data")
        files.sync_directory(root)
        self.limit(volume.uuid, volume.options.size)
        self.place.records.delete(begun.key, expected=begun.version)

    def forget(self, uuid: str) -> None:
        """The volume is deleted."""
        if (begun := self._begun(uuid)) is not None:
            self.place.records.delete(begun.key, expected=begun.version)

    def limit(self, uuid: str, size: int | None) -> None:
        """Set the quota; None: none."""
        wanted = "inf" if size is None else str(int(size))
        self.place.cluster.mgr("fs subvolume resize", new_size=wanted, **self.subvolume(uuid))

    def copy(
        self, source: Volume[CephOptions], snapshot: str, volume: Volume[CephOptions], root: Path
    ) -> None:
        """Fill the new subvolume whose root is `root`. NotFound, Invalid."""
        if (volume.options.size or 0) < (source.options.size or 0):
            size = source.options.size
            raise Invalid(f"volume {volume.name} needs size={size}, as what it is made from")
        found = snapshot_names.found(source, snapshot, self._names(source))
        new = root / f"data.new-{self.place.node}"
        trees.delete(new)
        with self._reading(source.uuid, volume.uuid) as other:
            copy_tree(_content(other, found), new)
        try:
            os.rename(new, root / "data")
        except OSError:  # another node was faster
            if not (root / "data").is_dir():
                raise
            trees.delete(new)
        files.sync_directory(root)
        self.limit(volume.uuid, volume.options.size)

    @contextlib.contextmanager
    def _reading(self, uuid: str, purpose: str) -> Iterator[Path]:
        """The root of a subvolume for the block, mounted as a user that may only read it, who
        is therefore none of its clients that have to be shut out."""
        user, place = f"{_READER}.{purpose}.{self.place.user_part}", f"from-{purpose}"
        cluster, wanted = self.place.cluster, self.subvolume(uuid)
        rights = {"auth_id": user, "access_level": "r", "tenant_id": "kedge"}
        key = cluster.mgr("fs subvolume authorize", **rights, **wanted)
        try:
            path = cluster.mgr("fs subvolume getpath", **wanted)
            with self.key_file(user, str(key)) as keyring:
                self.reader.mount(Subvolume(str(path), user, keyring), place)
            yield self.reader.mountpoint(place)
        finally:
            self.reader.unmount(place)
            if not self.reader.ended(place, _END_SECONDS):
                self.reader.kill(place)
            Fence(cluster).forget(user, **wanted)

    def _begun(self, uuid: str) -> Record | None:
        """The record of going back, while that is under way."""
        return self.place.records.get(f"{_KIND}/{uuid}")

    def _names(self, volume: Volume[CephOptions]) -> list[str]:
        listed: list[dict[str, Any]] = self.place.cluster.mgr(
            "fs subvolume snapshot ls", **self.subvolume(volume.uuid)
        )
        return [str(one["name"]) for one in listed]

    def _ask(self, verb: str, volume: Volume[CephOptions], snapshot: str) -> None:
        wanted = self.subvolume(volume.uuid)
        self.place.cluster.mgr(f"fs subvolume snapshot {verb}", snap_name=snapshot, **wanted)


def _content(root: Path, snapshot: str) -> Path:
    """What a subvolume held, seen from its root: a snapshot of a directory above it bears that
    one's number in its name."""
    for name in os.listdir(root / ".snap"):
        if name.startswith(f"_{snapshot}_"):
            return root / ".snap" / name / "data"
    raise Damaged(f"snapshot {snapshot} is listed by the cluster, but its content is not there")
