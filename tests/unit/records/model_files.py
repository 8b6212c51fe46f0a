"""A file system in memory that is as weak as POSIX allows, to run DirectoryRecords on.

Names become durable only by `sync_directory`; at a power cut any subset of the later changes of
each directory survives, in no order (a rename within one directory is atomic). The process can be
made to die before any call, and single calls to fail as NFS does.
"""

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from backends.records.durable_files import DurableFiles


class Killed(BaseException):
    """The process dies here. Not an Exception: nothing may catch it and go on."""


@dataclass(eq=False)
class Node:
    """A file (`content`) or a directory (`names`); `pending` are name changes not yet durable."""

    content: bytes | None = None
    names: dict[str, "Node"] = field(default_factory=dict)
    durable: dict[str, "Node"] = field(default_factory=dict)
    pending: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, names: "dict[str, Node | None]") -> None:
        """Apply one atomic change of names."""
        apply(self.names, names)
        self.pending.append(names)

    def sync(self) -> None:
        """All changes so far are durable."""
        self.durable, self.pending = dict(self.names), []

    def cut_power(self, survives: Callable[[], bool]) -> None:
        """Forget an arbitrary part of what was not durable, here and below."""
        names = dict(self.durable)
        for change in self.pending:
            if survives():
                apply(names, change)
        self.names = names
        self.sync()
        for node in names.values():
            node.cut_power(survives)


def apply(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    """Carry out a change of names in a directory."""
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """What several processes share."""

    def __init__(self) -> None:
        self.root = Node()

    def at(self, path: Path) -> Node:
        """The node at `path`; FileNotFoundError when there is none."""
        node = self.root
        for part in path.parts[1:]:
            if part not in node.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = node.names[part]
        return node

    def cut_power(self, survives: Callable[[], bool]) -> None:
        """All processes are gone; what was not durable may be."""
        self.root.cut_power(survives)

    def tree(self) -> dict[str, list[str]]:
        """Every directory below the root with its names, for looking at leftovers."""
        found: dict[str, list[str]] = {}

        def walk(path: str, node: Node) -> None:
            if node.content is None:
                found[path] = sorted(node.names)
                for name, below in node.names.items():
                    walk(f"{path}/{name}", below)

        walk("", self.root)
        return found


class ModelFiles(DurableFiles):
    """One process's view of a Disk. `before(call)` runs before every call and may raise."""

    def __init__(self, disk: Disk, before: Callable[[str], None] = lambda call: None) -> None:
        self.disk = disk
        self.before = before
        self.calls = 0

    def _call(self, name: str) -> None:
        self.calls += 1
        self.before(name)

    def names(self, directory: Path) -> list[str]:
        self._call("names")
        return list(self.disk.at(directory).names)

    def exists(self, path: Path) -> bool:
        self._call("exists")
        try:
            self.disk.at(path)
        except FileNotFoundError:
            return False
        return True

    def age(self, path: Path, *, than: Path) -> float:
        self._call("age")
        self.disk.at(path), self.disk.at(than)
        return 0.0

    def read(self, path: Path) -> bytes:
        self._call("read")
        content = self.disk.at(path).content
        assert content is not None
        return content

    def write_new(self, path: Path, content: bytes) -> None:
        self._call("write_new")
        parent = self.disk.at(path.parent)
        if path.name in parent.names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        torn = Node(content=content[: len(content) // 2])
        parent.change({path.name: torn})
        self._call("write_new: fsync")
        torn.content = content

    def make_directory(self, path: Path) -> None:
        self._call("make_directory")
        parent = self.disk.at(path.parent)
        if path.name in parent.names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        parent.change({path.name: Node()})

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        assert old.parent == new.parent, "a rename across directories need not be atomic"
        parent = self.disk.at(old.parent)
        moved = self.disk.at(old)
        there = parent.names.get(new.name)
        if there is not None and (there.content is not None or there.names):
            raise OSError(errno.ENOTEMPTY, "not empty", str(new))
        parent.change({old.name: None, new.name: moved})

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        assert self.disk.at(path).content is not None
        self.disk.at(path.parent).change({path.name: None})

    def remove_directory(self, path: Path) -> None:
        self._call("remove_directory")
        if self.disk.at(path).names:
            raise OSError(errno.ENOTEMPTY, "not empty", str(path))
        self.disk.at(path.parent).change({path.name: None})

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        self.disk.at(path).sync()


class Unreliable(ModelFiles):
    """As ModelFiles, over a network: replies of renames get lost and are sent again (ENOENT, or
    EIO), and a listing may miss the token because a rename runs at that moment."""

    def __init__(self, disk: Disk, chance: random.Random, before: Callable[[str], None]) -> None:
        super().__init__(disk, before)
        self.chance = chance
        self._missed = False

    def names(self, directory: Path) -> list[str]:
        names = super().names(directory)
        self._missed = not self._missed and self.chance.random() < 0.1
        if self._missed:
            return [name for name in names if not name.startswith(("cur.", "dead."))]
        return names

    def rename(self, old: Path, new: Path) -> None:
        fate = self.chance.random()
        if fate < 0.05:
            raise OSError(errno.EIO, "request lost", str(old))
        super().rename(old, new)
        if fate < 0.2:
            self._call("rename: retransmission")
            lost = errno.ENOENT if fate < 0.15 else errno.EIO
            raise OSError(lost, "reply lost", str(old))
