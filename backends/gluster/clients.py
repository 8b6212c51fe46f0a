"""The clients of attached volumes: one each, mounted below the profile's state directory."""

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.errors import InUse
from backends.gluster.client import TYPE, Client, Export
from backends.host import fusectl, loop, mountinfo
from backends.mounting.mounted import Judge, Owner


class Clients:
    """A `Source`. `home`: the directory of all volumes within the Gluster volume."""

    fresh = True

    def __init__(
        self, export: Export, home: str, points: Path, options: Sequence[str], seconds: float
    ) -> None:
        self.export = export
        self.home = home
        self.points = points
        self._options = options
        self._seconds = seconds
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._opened: Counter[str] = Counter()

    def client(self, uuid: str) -> Client:
        """The client of one volume, running or not."""
        return Client(self.export, self.points / uuid, self._options, self._seconds)

    def directory(self, uuid: str) -> Path:
        return self.points / uuid / self.home / uuid

    def open(self, uuid: str) -> None:
        with self._locked(uuid):
            client = self.client(uuid)
            if not client.usable():
                self.cut_off(uuid)
                client.start()
            self._opened[uuid] += 1

    def close(self, uuid: str) -> None:
        with self._locked(uuid):
            if self._opened[uuid]:
                self._opened[uuid] -= 1
            client = self.client(uuid)
            if not self._opened[uuid] and not any(self._uses(client)):
                del self._opened[uuid]
                client.stop()

    def cut_off(self, uuid: str) -> None:
        """Stop every writer of a volume on this machine; see SelfFencing. Clients whose mount or
        process this node has lost sight of are found by what is left of them."""
        client = self.client(uuid)
        client.cut_off()
        devices = {
            mount.device
            for mount in mountinfo.read()
            if self.export.shown_by(mount) and mount.root == f"/{self.home}/{uuid}/data"
        }
        for device in devices:
            fusectl.abort(device)

    def judge(self, table: Sequence[mountinfo.Mount]) -> Judge:
        form = re.compile(rf"/{re.escape(self.home)}/([a-zA-Z0-9-]+)/data")

        def owner(mount: mountinfo.Mount) -> Owner | None:
            shown = form.fullmatch(mount.root)
            if shown is None or not self.export.shown_by(mount):
                return None
            client = self.client(shown[1])
            below = client.mount(table)
            same = below is not None and below.device == mount.device
            return shown[1], same and client.usable(table)

        return owner

    def image_owner(self, number: int) -> Owner | None:
        """Told by the kernel alone. While the client through which a device was made is mounted,
        the path of its file begins there; afterwards, at that client's own root."""
        path = loop.backing_file(number)
        points = os.path.realpath(self.points)
        inside = rf"/{re.escape(self.home)}/([a-zA-Z0-9-]+)/image"
        found = re.fullmatch(rf"({re.escape(points)}/[a-zA-Z0-9-]+)?{inside}", path)
        if found is None:
            return None
        uuid = found[2]
        return uuid, found[1] == f"{points}/{uuid}" and self.client(uuid).usable()

    def refuse_use(self, uuid: str) -> None:
        with self._locked(uuid):
            client = self.client(uuid)
            for use in self._uses(client):
                raise InUse(f"the data of volume {uuid} are {use}; unmount them first")
            client.stop()

    def _locked(self, uuid: str) -> threading.Lock:
        """Calls of this service for one volume wait for each other."""
        with self._lock:
            return self._locks.setdefault(uuid, threading.Lock())

    def _uses(self, client: Client) -> Iterator[str]:
        """What on this node was made from the client's mount, for people."""
        table = mountinfo.read()
        own = client.mount(table)
        if own is None or own.type != TYPE:
            return
        for mount in table:
            if mount.device == own.device and mount.id != own.id:
                yield f"mounted at {mount.point}"
        below = f"{os.path.realpath(self.points)}/{client.point.name}/"
        for number in loop.numbers():
            if loop.backing_file(number).startswith(below):
                yield f"in use as /dev/loop{number}"
