"""Nodes of an s3 profile on this machine, which die and come back as machines do.

A node is a backend with mounts and state of its own; its data path consists of real processes. The
volume's claim is given by the test: a number that grows with each owner, as the driver's does.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.base import Attachment, Context, Spec, Volume
from backends.claims import Claim
from backends.disk.fuse.path import DataPath
from backends.host import loop, mountinfo, mounts
from backends.options import parse
from backends.s3 import S3Backend
from backends.s3.disks import label
from backends.s3.options import S3Options, S3Settings
from tests.lab.object_store import ObjectStore

SECONDS = 60.0
BUCKET = "volumes"


class Node:
    """`attach`, then use `place`; `detach`, or `lose`."""

    def __init__(self, settings: S3Settings, home: Path, name: str) -> None:
        home.mkdir(exist_ok=True)
        self.name, self.settings = name, settings
        self.context = Context("s3", name, home / "mounts", home / "state")
        self.backend = S3Backend(settings, self.context)
        self._paused: list[int] = []
        self.attached: Attachment | None = None
        self.volume: Volume[S3Options] | None = None

    @property
    def place(self) -> Path:
        """Where the volume's files are."""
        assert self.attached is not None
        return self.attached.target

    @property
    def path(self) -> DataPath:
        """The volume's data path on this node."""
        assert self.volume is not None
        return DataPath(self.context.state / "paths" / self.volume.uuid, self.volume.name)

    @property
    def disk(self) -> Path:
        """Local log and orphans of the volume on this node."""
        assert self.volume is not None
        return self.context.state / "disks" / self.volume.uuid

    def create(self, **options: str) -> Volume[S3Options]:
        """A volume `db`."""
        small = {"size": "512M", "log": "128M", "cache": "32M", **options}
        parsed = parse(S3Options, small, subject="db")
        return self.backend.create(Spec("db", parsed, str(uuid.uuid4()), "2026-02-03T04:05:06Z"))

    def attach(self, volume: Volume[S3Options], epoch: int) -> Path:
        """The volume's files here, under this claim."""
        self.volume = volume
        claim = Claim(volume.uuid, self.name, f"session-of-{self.name}", epoch)
        target = self.context.mounts / volume.name
        self.attached = self.backend.attach(volume, target, claim=claim)
        self.context.mounts.chmod(0o755)
        return self.place

    def detach(self) -> None:
        """In order."""
        assert self.attached is not None
        self.backend.detach(self.attached)
        self.attached = None

    def lag(self) -> dict[str, Any]:
        """What is not in the bucket yet."""
        assert self.volume is not None
        return dict(self.backend.lag(self.volume))

    def await_sent(self, seconds: float = SECONDS) -> None:
        """Wait until everything is in the bucket that was written before the call."""
        began, until = time.monotonic(), time.monotonic() + seconds
        while (lag := self.lag())["bytes"]:
            if time.monotonic() - lag["seconds"] > began + 0.2:  # it says tenths
                return
            assert time.monotonic() < until, lag
            time.sleep(0.05)

    def await_shipped(self, seconds: float = SECONDS) -> float:
        """Wait until nothing of the volume is only on this node; how many seconds it took."""
        began = time.monotonic()
        while (lag := self.lag())["bytes"]:
            assert time.monotonic() - began < seconds, lag
            time.sleep(0.05)
        return time.monotonic() - began

    def server(self) -> int:
        """The process that serves the disk."""
        held = self.path.held()
        return held.server if held else 0

    def kill_server(self) -> float:
        """kill -9; seconds until another one serves."""
        victim, began = self.server(), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self.await_server(victim)
        return time.monotonic() - began

    def await_server(self, victim: int) -> None:
        """Wait until another one serves."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            held = self.path.held()
            if held and held.server not in (0, victim) and held.state == "serving":
                return
            time.sleep(0.005)
        raise AssertionError(f"no server: {self.words()}")

    def kill_holder(self) -> None:
        """kill -9 of who keeps the descriptors; the server goes on."""
        held = self.path.held()
        assert held is not None
        os.kill(held.pid, signal.SIGKILL)

    def pause(self) -> list[int]:
        """Every process of the data path stands still, as on a machine that is paused."""
        held = self.path.held()
        assert held is not None
        self._paused = [pid for pid in (held.next, held.server, held.pid) if pid]
        for pid in self._paused:
            os.kill(pid, signal.SIGSTOP)
        return self._paused

    def words(self) -> str:
        """What the data path complained about."""
        log = self.path.directory / "log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def lose(self, *, disk: bool) -> None:
        """The machine is gone at once: processes first, then what the kernel had. `disk`: what
        was on its disk, too. Whoever uses the files must have been killed before."""
        if self.volume is None:
            return
        for pid in self._paused:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused = []
        held = self.path.held()
        for pid in (held.pid, held.next, held.server) if held else ():
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.path.abort()
        target = self.context.mounts / self.volume.name
        while any(m.point == os.path.realpath(target) for m in mountinfo.read()):
            mounts.unmount(target, lazily=True)
        self.path.clear(SECONDS)
        until = time.monotonic() + SECONDS
        while label(self.volume.uuid, self.name) in map(_label, loop.numbers()):
            assert time.monotonic() < until, "somebody still holds the lost node's device"
            time.sleep(0.05)
        self.attached = None
        if disk:
            shutil.rmtree(self.disk)

    def orphans(self) -> list[Path]:
        """Writes that the history has passed by."""
        return sorted(self.disk.glob("orphan-*"))


def _label(number: int) -> str:
    found = loop.status(number) if loop.in_use(number) else None
    return found.label if found else ""


@contextmanager
def nodes(
    server: ObjectStore, home: Path, *names: str, url: str = "", prefix: str = ""
) -> Iterator[list[Node]]:
    """Nodes of one profile on a store; whatever they left is taken away afterwards. `url`: another
    way to the store."""
    home.chmod(0o755)
    settings = S3Settings(
        bucket=BUCKET,
        prefix=prefix or f"p-{uuid.uuid4().hex[:8]}",
        endpoint=url or server.endpoint.url,
        region=server.endpoint.region,
        credentials=server.credentials(home / "credentials"),
        path_style=True,
    )
    made = [Node(replace(settings), home / name, name) for name in names]
    try:
        yield made
    finally:
        for one in made:
            one.lose(disk=False)
