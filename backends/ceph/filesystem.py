"""Layout `filesystem`: a CephFS subvolume named by the volume's uuid.

    subvolume ──> its client, mounted below the profile's state ──> its `data` bound to the target

ceph-fuse serves until the last mount of the volume is gone, and only when it has left has it
written everything. Every node mounts as a user of its own that may use this subvolume alone
(`kedge.<uuid>.<epoch>.<node>`); the list of these users in the cluster says who may write, and
taking a user's right away and evicting him is the fence.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from backends.base import Attachment, Volume
from backends.ceph.clients import SubvolumeClients
from backends.ceph.commands import Subvolume
from backends.ceph.failures import Absent
from backends.ceph.fencing import Fence
from backends.ceph.filesystem_snapshots import FilesystemSnapshots
from backends.ceph.layout import ROOT, Place
from backends.ceph.options import CephOptions
from backends.ceph.sessions import Session
from backends.errors import Damaged, KedgeError, Unavailable
from backends.host import files, mounts
from backends.host.mountinfo import Mount
from backends.mounting import detaching
from backends.options import Size

_FLUSH_SECONDS = 10.0
_TENANT = "kedge"


@dataclass(frozen=True)
class FilesystemLayout:
    """See `layout.Layout`."""

    fresh: ClassVar[bool] = True

    place: Place
    client: SubvolumeClients

    @property
    def snapshots(self) -> FilesystemSnapshots:
        return FilesystemSnapshots(
            self.place, self._subvolume, self._borrowed, self.client.fuse, self._keyring
        )

    def make(self, volume: Volume[CephOptions]) -> None:
        options, origin = volume.options, self.place.origin(volume)
        wanted: dict[str, Any] = dict(self._subvolume(volume.uuid))
        quota = {"size": int(options.size)} if options.size and not origin else {}
        wanted |= {"mode": "755", "namespace_isolated": True, **quota}
        try:
            self.place.cluster.mgr("fs subvolume create", **wanted)
        except Absent:
            group = {"vol_name": wanted["vol_name"], "group_name": wanted["group_name"]}
            self.place.cluster.mgr("fs subvolumegroup create", **group)
            self.place.cluster.mgr("fs subvolume create", **wanted)
        with self._borrowed(volume, 0) as root:
            if origin is None:
                _furnish(root, options)
            elif not (root / "data").is_dir():
                self.snapshots.copy(*origin, volume, root)

    def delete(self, volume: Volume[CephOptions]) -> None:
        wanted = self._subvolume(volume.uuid)
        with self.place.locked(volume.uuid):
            self.client.unmount(volume.uuid)
            self.client.kill(volume.uuid)
        with contextlib.suppress(Absent):
            self.shut_out(volume.uuid, self.clients(volume.uuid))
            for user in self._users(volume.uuid, "r"):  # a copy that was cut off
                Fence(self.place.cluster).forget(user, **wanted)
            for snapshot in self.snapshots.all(volume):
                self.place.cluster.mgr("fs subvolume snapshot rm", snap_name=snapshot, **wanted)
            self.place.cluster.mgr("fs subvolume rm", **wanted)
        self.snapshots.forget(volume.uuid)
        self.place.sessions.forget(volume.uuid)
        self.place.forget_lock(volume.uuid)

    def where(self, volume: Volume[CephOptions]) -> str:
        settings = self.place.settings
        return f"cephfs {settings.fs}, subvolume {settings.group}/{volume.uuid}"

    def mount(
        self, volume: Volume[CephOptions], target: Path, *, read_only: bool, epoch: int
    ) -> None:
        with self.place.locked(volume.uuid):
            root = self._reach(volume.uuid, epoch)
            self.snapshots.finish(volume, root)
            data = root / "data"
            if not data.is_dir():
                self._let_go(volume.name, volume.uuid)
                raise Damaged(
                    f"the data of volume {volume.name} are missing: {self.where(volume)} has no "
                    "directory `data`"
                )
            mounts.bind(data, target)
            if read_only:
                self.place.staging.make_read_only(target)

    def owner(self, mount: Mount) -> tuple[str, bool] | None:
        if mount.root != ROOT:
            return None
        uuid = self.client.shown(mount, self.place.profile)
        return (uuid, self.client.healthy(uuid)) if uuid else None

    def carrier(self) -> str:
        return self.client.chosen()

    def release(self, attachment: Attachment) -> None:
        uuid = attachment.uuid
        with self.place.locked(uuid):
            if self.client.healthy(uuid):
                detaching.await_release(attachment, lambda: not detaching.holding([attachment]))
            else:
                self.client.kill(uuid)
            self._let_go(attachment.name, uuid)

    def tidy(self, uuid: str) -> None:
        """Nothing: a client that is not written down is replaced when the volume is reached."""

    def give_up(self, uuid: str) -> None:
        """Nothing: ceph-fuse answers everybody with an error once it is shut out."""

    def clients(self, uuid: str) -> list[Session]:
        # One that outlived the plugin it was started in is well, and nothing here reaches it.
        spared = self.place.own(uuid) if self.client.reached(uuid) is not None else []
        known = self.place.sessions.of(uuid)
        named = {one.user for one in known}
        unknown = [user for user in self._users(uuid) if user not in named]
        found = [one for one in known if one not in spared]
        return found + [Session(self._node(user), "", user) for user in unknown]

    def shut_out(self, uuid: str, clients: Sequence[Session]) -> None:
        fence = Fence(self.place.cluster)
        fence.blocklist(one.address for one in clients)
        for one in clients:
            fence.evict(one.user, **self._subvolume(uuid))
        fence.blocklist(one.address for one in clients)  # the eviction set an hour
        self.place.sessions.drop(uuid, clients)

    def grow(self, volume: Volume[CephOptions], size: Size, attachment: Attachment | None) -> bool:
        self.place.cluster.mgr(
            "fs subvolume resize",
            new_size=str(int(size)),
            no_shrink=True,
            **self._subvolume(volume.uuid),
        )
        return True

    def _reach(self, uuid: str, epoch: int) -> Path:
        """The subvolume's root on this node. Its client is written down before anything is done
        with it."""
        if (reached := self.client.reached(uuid)) is not None and self.place.own(uuid):
            return reached
        user = f"kedge.{uuid}.{epoch}.{self.place.user_part}"
        try:
            wanted = self._subvolume(uuid)
            key = self.place.cluster.mgr(
                "fs subvolume authorize",
                auth_id=user,
                access_level="rw",
                tenant_id=_TENANT,
                **wanted,
            )
            path = self.place.cluster.mgr("fs subvolume getpath", **wanted)
        except Absent as error:
            raise Damaged(f"the data of volume {uuid} are missing ({error})") from error
        with self._keyring(user, str(key)) as keyring:
            address = self.client.mount(Subvolume(str(path), user, keyring), uuid)
        try:
            self.place.sessions.add(uuid, Session(self.place.node, address, user, epoch))
        except BaseException:
            self.client.unmount(uuid)
            raise
        return self.client.mountpoint(uuid)

    @contextlib.contextmanager
    def _borrowed(self, volume: Volume[CephOptions], epoch: int) -> Iterator[Path]:
        """The subvolume's root on this node for the block; nobody here has it attached."""
        with self.place.locked(volume.uuid):
            root = self._reach(volume.uuid, epoch)
            try:
                yield root
            except BaseException:
                with contextlib.suppress(KedgeError):
                    self._let_go(volume.name, volume.uuid)
                raise
            self._let_go(volume.name, volume.uuid)

    def _let_go(self, name: str, uuid: str) -> None:
        """Wait until this node's client has written everything and is gone; strike it out."""
        self.client.unmount(uuid)
        if not self.client.ended(uuid, _FLUSH_SECONDS):
            raise Unavailable(
                f"volume {name} is unmounted, but ceph-fuse has not yet written everything to the "
                "cluster; this is tried again"
            )
        own = self.place.own(uuid)
        for one in own:
            Fence(self.place.cluster).forget(one.user, **self._subvolume(uuid))
        self.place.sessions.drop(uuid, own)

    @contextlib.contextmanager
    def _keyring(self, user: str, key: str) -> Iterator[Path]:
        """A file that the client reads the key from; gone when it has."""
        path = self.place.directory("keys") / user
        files.write_secret(path, f"[client.{user}]\n\tkey = {key}\n".encode())
        try:
            yield path
        finally:
            path.unlink()

    def _users(self, uuid: str, level: str = "rw") -> list[str]:
        """Who may write the subvolume, or read it only; nobody when there is none."""
        try:
            listed = self.place.cluster.mgr("fs subvolume authorized_list", **self._subvolume(uuid))
        except Absent:
            return []
        return [user for entry in listed for user, may in entry.items() if may == level]

    def _node(self, user: str) -> str:
        """Whose user it is; our own by our name as it was given."""
        node = user.split(".", 3)[-1]
        return self.place.node if node == self.place.user_part else node

    def _subvolume(self, uuid: str) -> dict[str, str]:
        settings = self.place.settings
        return {"vol_name": settings.fs or "", "sub_name": uuid, "group_name": settings.group}


def _furnish(root: Path, options: CephOptions) -> None:
    """Make the directory that is handed out. Two nodes may do this at once, so nothing is ever
    renamed over what the other one has made, and what holds anything is left alone."""
    data = root / "data"
    data.mkdir(0o700, exist_ok=True)
    if not os.listdir(data):
        os.chown(data, options.uid, options.gid)
        data.chmod(options.mode)
    files.sync_directory(data)
    files.sync_directory(root)
