"""The root of a profile: what lies where, and whether it is the root we know.

    <root>/kedge.json           {"format": 1, "id": ...}: the marker, made once
    <root>/records/             records: volumes, trash, claims, leases
    <root>/volumes/<uuid>/      the data of one volume
    <root>/snapshots/<uuid>/    its snapshots, see `snapshots`
    <root>/volumes/.removing-*  data on their way out
    <root>/reserve              room for records when the disk is full

A network file system that is not mounted looks like an empty directory. So a node remembers the
identity of a root it has once used, and touches nothing while the marker is not there.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.errors import Damaged, Invalid, Unavailable
from backends.host import files, mountinfo
from backends.host.failures import explained

FORMAT = 1
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "lustre", "gpfs", "ocfs2", "gfs2"}
    | {"afs", "beegfs", "virtiofs", "fuse.glusterfs", "fuse.juicefs", "fuse.mfs", "fuse.lizardfs"}
)


@dataclass(frozen=True)
class Home:
    """The directory of all volumes: its file system, and its path within that."""

    device: str
    path: str


class Store:
    """One root, as seen by one node. Does nothing until it is asked."""

    def __init__(self, root: Path, state: Path, new_id: Callable[[], str]) -> None:
        self.root = root
        self.records = root / "records"
        self.volumes = root / "volumes"
        self.snapshots = root / "snapshots"
        self._marker = root / "kedge.json"
        self._memory = state / "store.json"
        self._new_id = new_id

    def data(self, uuid: str) -> Path:
        """Where everything of one volume lies."""
        return self.volumes / uuid

    def check(self) -> str:
        """The identity of the root, made at the first use.

        Raises Unavailable when the marker is missing although this node has used the root,
        Damaged when it is another root than before, Invalid when the root was never used and has
        something else in it. Nothing is ever made in a root that fails."""
        with explained(f"use the root {self.root}"):
            found, known = self._read(self._marker), self._read(self._memory)
            if found is None:
                if known is not None:
                    raise Unavailable(
                        f"{self.root} has no kedge.json, so it is not the directory that this node "
                        f"has used (id {known}): is it mounted? If it was replaced on purpose, "
                        f"remove {self._memory}"
                    )
                found = self._make()
            if known is None:
                self._remember(found)
            elif known != found:
                raise Damaged(
                    f"{self.root} has the id {found}, but this node has used one with the id "
                    f"{known}; mount the right one, or remove {self._memory} to use this one"
                )
            return found

    def known(self) -> str:
        """The identity that this node remembers; empty before the first use. Does not touch the
        root."""
        return self._read(self._memory) or ""

    def below(self, table: Sequence[mountinfo.Mount]) -> mountinfo.Mount:
        """The mount that the root lies on, or will lie on."""
        return mountinfo.covering(table, self._real(table))

    def home(self, table: Sequence[mountinfo.Mount]) -> Home:
        """Where the volumes lie, in the words of the mount table."""
        below = self.below(table)
        return Home(below.device, below.inside(f"{self._real(table)}/{self.volumes.name}"))

    def _real(self, table: Sequence[mountinfo.Mount]) -> str:
        """The root without symbolic links; found without touching a server that may be away."""
        lexical = os.path.normpath(self.root)
        if is_network(mountinfo.covering(table, lexical)):
            return lexical
        return os.path.realpath(lexical)

    def _make(self) -> str:
        if foreign := self._foreign():
            raise Invalid(
                f"root {self.root} has no kedge.json but has {foreign!r}; name an empty directory"
            )
        files.make_directory(self.root)
        files.make_directory(self.records, 0o700)
        files.make_directory(self.volumes, 0o700)
        made = self._new_id()
        content = json.dumps({"format": FORMAT, "id": made}).encode()
        files.write_once(self._marker, content, temporary=f".kedge.json-{made}")
        return self._read(self._marker) or made

    def _foreign(self) -> str | None:
        """Something in the root that `_make` did not put there."""
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            ours = path in (self.records, self.volumes) and not any(path.iterdir())
            if not (ours or path.name == "lost+found" or path.name.startswith(".kedge.json-")):
                return path.name
        return None

    def _remember(self, identity: str) -> None:
        files.make_directory(self._memory.parent)
        content = json.dumps({"format": FORMAT, "id": identity, "root": str(self.root)}).encode()
        files.write_once(self._memory, content, temporary=f".store.json-{self._new_id()}")

    def _read(self, path: Path) -> str | None:
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}, this version reads {FORMAT}")
            return str(content["id"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{path} cannot be read: {error}") from error


def is_network(mount: mountinfo.Mount) -> bool:
    """Whether other nodes can have the same files, judged by the type of the file system."""
    return mount.type in _NETWORK or mount.type.startswith("fuse.ceph")
