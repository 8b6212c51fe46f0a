"""How this node reaches the data of one volume in order to mount them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.errors import InUse
from backends.host import loop, mountinfo, trees
from backends.mounting.mounted import Judge, Owner
from backends.tree.store import Store

_IMAGE = re.compile(r"(.*)/([a-zA-Z0-9-]+)/image")
_ROOT = re.compile(r"(.*)/([a-zA-Z0-9-]+)/data")


class Source(Protocol):
    """Where layouts find the data of a volume while it is, or is about to be, mounted here."""

    @property
    def fresh(self) -> bool:
        """Whether `open` after a failure leads to another file system than before, so that a
        fresh mount can be stacked over the dead one, which reaches running containers."""

    def directory(self, uuid: str) -> Path:
        """Everything of one volume: `data`, or `image`. Valid from `open` to `close`, and while it
        is mounted."""

    def open(self, uuid: str) -> None:
        """Make `directory` reachable until `close`; several calls may need it at once."""

    def close(self, uuid: str) -> None:
        """Undo one `open`. The last lets go of the source, unless something here is mounted from
        it; then the call after its unmounting does, which needs no `open` before."""

    def judge(self, table: Sequence[mountinfo.Mount]) -> Judge:
        """What tells whose plain directory a mount of `table` shows; None: nobody's."""

    def image_owner(self, number: int) -> Owner | None:
        """Whose image a loop device holds, and whether `directory` still leads to it. None:
        nobody's."""

    def refuse_use(self, uuid: str) -> None:
        """Raise InUse, saying where, while this node has the data mounted."""


def label(uuid: str, store: str) -> str:
    """What `losetup` shows for a volume's device; at most 63 bytes."""
    return f"kedge:{uuid}:{store[:8]}"


@contextmanager
def opened(source: Source, uuid: str) -> Iterator[None]:
    """The data of a volume can be reached during the block, and after it while mounted."""
    source.open(uuid)
    try:
        yield
    finally:
        source.close(uuid)


@dataclass(frozen=True)
class Direct:
    """The root itself: nothing has to be opened."""

    store: Store
    fresh: bool = False

    def directory(self, uuid: str) -> Path:
        return self.store.data(uuid)

    def open(self, uuid: str) -> None:
        """Nothing to do."""

    def close(self, uuid: str) -> None:
        """Nothing to do."""

    def judge(self, table: Sequence[mountinfo.Mount]) -> Judge:
        home = self.store.home(table)

        def owner(mount: mountinfo.Mount) -> Owner | None:
            shown = _ROOT.fullmatch(mount.root)
            if shown is None:
                return None
            uuid = shown[2]
            if mount.device == home.device and shown[1] == home.path:
                return uuid, True
            if mount.device != home.device and (self.store.data(uuid) / "data").is_dir():
                return uuid, False  # the root was mounted anew since
            return None

        return owner

    def image_owner(self, number: int) -> Owner | None:
        """The path alone decides whether more is asked: that would ask the device's storage,
        anybody's, which may hang."""
        at = self._image_at(loop.backing_file(number))
        device = None if at is None else loop.status(number)
        if at is None or device is None:
            return None
        if device.file == loop.DEAD:
            return at, False
        uuid = device.label.removeprefix("kedge:").partition(":")[0]
        if device.label != label(uuid, self.store.known()):
            return None
        try:
            return uuid, loop.identity(self.store.data(uuid) / "image") == device.file
        except OSError:
            return uuid, False

    def _image_at(self, path: str) -> str | None:
        """A root behind a symbolic link, and one that an earlier service had mounted elsewhere,
        are spelled differently; then the volume has to be there."""
        shown = _IMAGE.fullmatch(path)
        if shown is None:
            return None
        spelled = shown[1] == str(self.store.volumes)
        return shown[2] if spelled or self.store.data(shown[2]).is_dir() else None

    def refuse_use(self, uuid: str) -> None:
        data = self.store.data(uuid)
        trees.refuse_mounts_below(data)
        table = mountinfo.read()
        home = self.store.home(table)
        root = f"{home.path}/{uuid}"
        for mount in table:
            if mount.device == home.device and (mount.root + "/").startswith(root + "/"):
                raise InUse(f"the data in {data} are mounted at {mount.point}; unmount them first")
        image = data / "image"
        if image.exists() and (device := loop.find(image)) is not None:
            raise InUse(f"{image} is in use as /dev/loop{device.number}; unmount it first")
