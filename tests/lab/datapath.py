"""A data path of a test's own, and what a person would do to it."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.disk.fuse.layer import Layer
from backends.disk.fuse.path import DataPath
from backends.disk.serve import Config
from backends.host import mountinfo, targets
from backends.host.filesystems import FileSystem, driver_of
from backends.host.staging import Staging

SECONDS = 20.0
MIB = 1 << 20


@dataclass
class Rig:
    """A volume's data path on a disk that is a file, and its file system."""

    home: Path
    size: int = 512 * MIB
    fs: FileSystem = FileSystem.EXT4
    label: str = ""
    spare: bool = True
    path: DataPath = field(init=False)
    layer: Layer = field(init=False)
    loads: "list[Fio]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = DataPath(self.home / "volume", "rig", spare=self.spare)
        label = self.label or f"kedge:{os.getpid()}:{self.home.name}"
        staging = Staging(self.home / "staging")
        self.layer = Layer(self.path, label[:63], driver_of(self.fs), staging)

    @property
    def image(self) -> Path:
        """The file that is the device."""
        return self.home / "device.img"

    @property
    def target(self) -> Path:
        """Where the files appear."""
        return self.home / "files"

    @property
    def log(self) -> str:
        """What holder and servers complained about."""
        return (self.path.directory / "log").read_text()

    def config(self, factory: str = "file") -> Config:
        """A device of the testing module."""
        arguments = {"path": str(self.image), "size": self.size, "faulty": True}
        return Config(f"backends.disk.fuse.testing:{factory}", arguments)

    def open(self) -> None:
        """Start the data path, or find it again."""
        self.path.open(self.config(), SECONDS)

    def up(self) -> None:
        """Everything, from nothing to mounted files."""
        self.open()
        self.layer.format(name="rig", uid=0, gid=0, mode=0o755)
        self.mount()

    def mount(self) -> None:
        """The files, of a disk that has some."""
        targets.make(self.target)
        self.layer.mount(self.target)

    def down(self) -> None:
        """Everything, in the opposite order."""
        self.layer.unmount(self.target, SECONDS)
        self.path.close(SECONDS)

    def wreck(self) -> None:
        """Take everything away, whatever state it is in."""
        for load in self.loads:
            load.kill()
        self.path.abort()
        self.layer.unmount(self.target, 5.0, force=True)
        self.path.clear(5.0)

    def server(self) -> int:
        """The server's process id."""
        held = self.path.held()
        assert held is not None
        return held.server

    def await_spare(self) -> int:
        """The process id of the server that stands ready."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            held = self.path.held()
            assert held is not None
            if held.next:
                return held.next
            time.sleep(0.02)
        raise AssertionError(f"no spare; the log says: {self.log}")

    def kill_server(self) -> float:
        """Kill the server (-9); seconds until another one serves."""
        victim, began = self.server(), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self.await_other(victim)
        return time.monotonic() - began

    def await_other(self, victim: int) -> None:
        """Wait for a server that is not this one."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            held = self.path.held()
            assert held is not None
            if held.server not in (0, victim) and held.state == "serving":
                return
            time.sleep(0.005)
        raise AssertionError(f"no new server; the log says: {self.log}")

    def status(self) -> dict[str, Any]:
        """What the server says."""
        found: dict[str, Any] = self.path.call("status", seconds=SECONDS)
        return found

    def fault(self, what: str, text: str) -> None:
        """Make the device `fail` or be `slow`; an empty text: well again."""
        place = self.image.with_suffix(f".{what}")
        new = place.with_suffix(".new")
        new.write_text(text)
        new.rename(place)

    def load(self, size: str) -> "Fio":
        """Start a load that verifies itself. It ends with the rig at the latest."""
        self.loads.append(Fio(self.target, self.home / f"fio{len(self.loads)}", size=size))
        return self.loads[-1]

    def left(self) -> list[str]:
        """Whatever of this rig the kernel still has."""
        home = str(self.home)
        found = [mount.point for mount in mountinfo.read() if mount.point.startswith(home)]
        if (device := self.layer.device()) is not None:
            found.append(device.device)
        return found


@contextmanager
def rig(home: Path, **facts: Any) -> Iterator[Rig]:
    """A rig for the block, all of it gone afterwards."""
    made = Rig(home, **facts)
    try:
        yield made
    finally:
        made.wreck()
    assert made.left() == []


def fsck(image: Path) -> str:
    """What e2fsck finds in an image; raises when that is not `clean`."""
    done = subprocess.run(
        ["e2fsck", "-fn", image], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Fio:
    """A running fio that writes at random and then verifies; `outcome` is its report."""

    def __init__(self, directory: Path, report: Path, *, size: str) -> None:
        self._report = report
        verify = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1"]
        queue = ["--iodepth=16", "--ioengine=libaio", "--direct=1", "--fsync=32"]
        output = ["--output-format=json", f"--output={report}"]
        load = ["--name=v", f"--directory={directory}", "--rw=randwrite", "--bs=4k"]
        self._process = subprocess.Popen(
            ["fio", *load, f"--size={size}", *queue, *verify, *output],
            cwd=report.parent,  # it leaves its notes there
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.communicate(timeout=60)

    def running(self) -> bool:
        """Whether it still works."""
        return self._process.poll() is None

    def outcome(self, seconds: float = 280) -> dict[str, Any]:
        """Its report, once it is done, within `seconds`."""
        _, errors = self._process.communicate(timeout=seconds)
        text = self._report.read_text()
        report = json.loads(re.sub(r"^[^{]*", "", text))
        job: dict[str, Any] = report["jobs"][0]
        job["code"] = self._process.returncode
        job["stderr"] = errors.decode()
        return job


def worst_pause(job: dict[str, Any]) -> float:
    """Seconds of the longest write or sync of a fio job."""
    longest = max(job["write"]["lat_ns"]["max"], job["sync"]["lat_ns"].get("max", 0))
    return float(longest) / 1e9
