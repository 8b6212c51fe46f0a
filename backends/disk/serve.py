"""The server process of a volume: `python -m backends.disk.serve DIRECTORY FD,FD,FD GATE`.

Started by the volume's holder (`backends.host.holder`), whose protocol at the gate it follows. The
device is made by the factory that `DIRECTORY/disk.json` (mode 0600) names. The end of this process
is never an event for the files above: whatever it had taken and not answered is in the ring.
"""

import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from backends.disk.device import BlockDevice
from backends.disk.fuse.control import Answering, Commanded, Growable
from backends.disk.fuse.ring import Ring
from backends.disk.fuse.server import End, Server
from backends.errors import Damaged, Invalid, NotSupported
from backends.host.hardening import harden
from backends.host.holder import HANDED_OVER
from backends.host.locks import lock_for_life

CONFIG = "disk.json"
LOCK = "server.lock"
"""Held by a server from before it touches the device until it ends: never two on one device."""
_INTERVAL = 0.002
_SETTLE_SECONDS = 5.0
_STACK = 512 * 1024
_TURN = 0.0005
"""Seconds for which a thread that computes keeps one waiting that has to answer the kernel."""
_TOLD = 20
"""Failures of the device that are described in the log; the rest are counted."""
_PACKAGE = "backends.disk."

Factory = Callable[[Mapping[str, Any]], BlockDevice]


@dataclass(frozen=True)
class Config:
    """What `disk.json` says. Written by the service, read by each new server."""

    factory: str
    """`module:function` below `backends.disk`; called with `arguments`, to which the server adds
    `connection`: 32 bits that tell this mount from others, over all its servers."""
    arguments: Mapping[str, Any]

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps({"version": 1, "factory": self.factory, "arguments": self.arguments})


def parse(text: str) -> Config:
    """The configuration in a text. Damaged when it is none."""
    try:
        found = json.loads(text)
        if found["version"] != 1:
            raise ValueError(f"version {found['version']}")
        return Config(str(found["factory"]), dict(found["arguments"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{CONFIG} does not describe a disk: {error!r}") from error


def factory(place: str) -> Factory:
    """The function that makes the device. Invalid when `place` is not one of this program's."""
    module, _, name = place.partition(":")
    if not module.startswith(_PACKAGE):
        raise Invalid(f"{place!r} is no factory of disks: it is not below {_PACKAGE}")
    try:
        found: Factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Invalid(f"{place!r} is no factory of disks: {error}") from error
    return found


class Complaints:
    """What the device raised, for the log and for `status`."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def __call__(self, what: str, error: Exception) -> None:
        self.count += 1
        self.last = f"{what}: {error!r}"
        if self.count <= _TOLD:
            say(f"{what} failed", error)


def say(what: str, error: Exception | None = None) -> None:
    """A line in the log; a full disk must not matter here."""
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {os.getpid()} {what}\n"
    if error is not None:
        text += "".join(traceback.format_exception(error))
    try:
        os.write(2, text.encode(errors="replace"))
    except OSError:
        return


class Service:
    """One server with its device and the answers to the service's questions."""

    def __init__(self, server: Server, device: BlockDevice, complaints: Complaints) -> None:
        self._server = server
        self._device = device
        self._complaints = complaints
        self._resizing = threading.Lock()
        self.facts: dict[str, Any] = {"pid": os.getpid()}

    def obey(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the service asks (see `control`)."""
        if verb == "descriptors":
            return {"pid": os.getpid()}
        if verb == "resize":
            return self._resize(int(arguments["size"]))
        if verb == "status":
            return self._status()
        if isinstance(self._device, Commanded):
            return self._device.command(verb, arguments)
        raise Invalid(f"this device knows no command {verb!r}")

    def _resize(self, size: int) -> Mapping[str, Any]:
        with self._resizing:
            if size < self._device.size:
                raise Invalid(f"the disk has {self._device.size} bytes; it cannot shrink to {size}")
            if not isinstance(self._device, Growable):
                raise NotSupported("this device cannot grow while it is used")
            if size > self._device.size:
                self._device.resize(size)
            self._server.resized()
        return {"size": self._device.size}

    def _status(self) -> Mapping[str, Any]:
        return {
            **self.facts,
            "size": self._device.size,
            "requests": self._server.served(),
            "errors": self._complaints.count,
            "last_error": self._complaints.last,
        }


def main(arguments: Sequence[str]) -> int:
    """Wait at the gate, serve, and say why it ended: 0 the connection is over, HANDED_OVER
    another server goes on."""
    directory = Path(arguments[0]).absolute()
    numbers, gate_number = arguments[1], int(arguments[2])
    kept = [int(number) for number in numbers.split(",")]
    fuse, ring_number, control = kept
    prepare(_config(directory))
    os.chdir("/")
    threading.stack_size(_STACK)
    gate = socket.socket(fileno=gate_number)
    for number in (*kept, gate_number):
        os.set_inheritable(number, False)
    sys.setswitchinterval(_TURN)
    granted = harden()
    gate.send(b"r")
    if gate.recv(1) != b"g":
        return HANDED_OVER  # the holder is gone and nothing was begun
    lock_for_life(directory / LOCK)
    ring, complaints, config = Ring(ring_number), Complaints(), _config(directory)
    device = factory(config.factory)({**config.arguments, "connection": ring.connection})
    server = Server(fuse, ring, device, complaints)
    stopping = _on_term(server)
    service = Service(server, device, complaints)
    service.facts |= {"hardening": granted, "replayed": server.replay()}
    Answering(socket.socket(fileno=control), service.obey, kept).start()
    _announce(gate)
    end = End.STOPPED if stopping.is_set() else server.serve(_INTERVAL, time.sleep)
    return _leave(server, device, end)


def prepare(config: Config) -> None:
    """Do what a device needs before it is made and can be done while a predecessor still serves:
    import its module, and call that module's `prepare(arguments)` if it has one."""
    factory(config.factory)
    module = sys.modules[config.factory.partition(":")[0]]
    early: Callable[[Mapping[str, Any]], None] | None = getattr(module, "prepare", None)
    if early is not None:
        early(config.arguments)


def _config(directory: Path) -> Config:
    return parse((directory / CONFIG).read_text())


def _on_term(server: Server) -> threading.Event:
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()
        threading.Thread(target=server.stop, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    return asked


def _announce(gate: socket.socket) -> None:
    try:
        gate.send(b"s")
    except OSError:
        say("the holder is gone; serving without one")


def _leave(server: Server, device: BlockDevice, end: End) -> int:
    """Finish what is in work. A device is closed only when nothing can come any more; a server
    that hands over leaves it as a killed one would."""
    until = time.monotonic() + _SETTLE_SECONDS
    while not server.settled() and time.monotonic() < until:
        time.sleep(0.001)
    say(f"the end: {end.value}")
    if end is End.STOPPED:
        return HANDED_OVER
    device.close()
    return 0


def run(arguments: Sequence[str]) -> None:
    """The process: no thread of it outlives `main`."""
    try:
        code = main(arguments)
    except BaseException as error:
        say("the server failed", error if isinstance(error, Exception) else None)
        code = 1
    os._exit(code)


if __name__ == "__main__":
    run(sys.argv[1:])
