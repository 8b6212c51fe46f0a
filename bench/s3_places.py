"""Directories to compare: on the host, in a plain image, and on kedge volumes in a bucket.

A place is opened, measured, made to forget what it has cached (`forget`), and closed.
"""

import os
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from backends.s3.options import S3Settings
from tests.lab.object_store import Moto, ObjectStore
from tests.lab.radosgw import RadosGateway
from tests.lab.s3_nodes import BUCKET, Node

HOST, LOOP, LOCAL, STORE = "host", "plain loop", "kedge local", "kedge store"
SIZE = "3G"
_SECONDS = 120.0


@dataclass(frozen=True)
class Lab:
    """A store of its own, and a directory to work in."""

    store: ObjectStore
    home: Path

    def node(self, name: str) -> Node:
        """A node that uses the bucket."""
        settings = S3Settings(
            bucket=BUCKET,
            prefix=f"p-{uuid.uuid4().hex[:8]}",
            endpoint=self.store.endpoint.url,
            region=self.store.endpoint.region,
            credentials=self.store.credentials(self.home / "credentials"),
            path_style=True,
        )
        return Node(settings, self.home / name, name)

    def beside(self, node: Node, name: str) -> Node:
        """Another node of the same profile."""
        return Node(replace(node.backend.settings), self.home / name, name)


@contextmanager
def lab(moto: bool) -> Iterator[Lab]:
    """A store for the block: a radosgw on a Ceph of one OSD, or moto."""
    with laboratory(Moto() if moto else RadosGateway()) as made:
        yield made


@contextmanager
def laboratory(store: ObjectStore) -> Iterator[Lab]:
    """`store`, started, for the block."""
    home = Path(mkdtemp(prefix="kedge-s3-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    try:
        store.start()
        store.bucket(BUCKET)
        yield Lab(store, home)
    finally:
        store.close()
        subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True)


class Place(ABC):
    """A directory. `path` is valid between `open` and `close`."""

    path: Path

    @abstractmethod
    def open(self) -> None:
        """Make it usable."""

    @abstractmethod
    def close(self) -> None:
        """Take it away. Repeating it is no error."""

    @abstractmethod
    def forget(self) -> None:
        """Have nothing of it in memory, nor, where it is a cache, on this machine's disk."""


class HostPlace(Place):
    """A directory on the host's own file system."""

    def __init__(self, home: Path) -> None:
        self.path = home / "host"

    def open(self) -> None:
        """See Place."""
        self.path.mkdir()

    def close(self) -> None:
        """See Place."""

    def forget(self) -> None:
        """See Place."""
        drop_pages()


class LoopPlace(Place):
    """ext4 in a sparse file on a loop device, as `mount -o loop` makes it."""

    def __init__(self, home: Path) -> None:
        self._image, self.path = home / "plain.img", home / "plain"

    def open(self) -> None:
        """See Place."""
        self.path.mkdir()
        subprocess.run(["truncate", "-s", SIZE, str(self._image)], check=True)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        self._mount()

    def close(self) -> None:
        """See Place."""
        if self.path.is_mount():
            subprocess.run(["umount", str(self.path)], check=True)

    def forget(self) -> None:
        """See Place."""
        self.close()
        drop_pages()
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True)


class KedgePlace(Place):
    """A volume in the bucket, on a node of its own."""

    def __init__(self, node: Node, **options: str) -> None:
        self.node = node
        self._options = {"size": SIZE, "log": "1G", "cache": "1G", **options}
        self._epoch = 0

    def open(self) -> None:
        """See Place."""
        self.node.volume = self.node.create(**self._options)
        self._attach()

    def close(self) -> None:
        """See Place."""
        self.node.lose(disk=False)

    def forget(self) -> None:
        """See Place."""
        self.settle()
        self.node.detach()
        for file in self.node.disk.glob("cache*"):
            file.unlink()
        drop_pages()
        self._attach()

    def settle(self) -> None:
        """Wait until everything is in the bucket."""
        until = time.monotonic() + _SECONDS
        while self.node.lag()["bytes"]:
            if time.monotonic() > until:
                raise TimeoutError(f"after {_SECONDS} s: {self.node.lag()}")
            time.sleep(0.02)

    def _attach(self) -> None:
        assert self.node.volume is not None
        self._epoch += 1
        self.path = self.node.attach(self.node.volume, self._epoch)


def drop_pages() -> None:
    """Nothing of any file stays in this machine's memory."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def opened(found: dict[str, Place]) -> Iterator[dict[str, Place]]:
    """All of them for the block."""
    with ExitStack() as stack:
        for place in found.values():
            stack.callback(place.close)
            place.open()
        yield found
