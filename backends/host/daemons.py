"""Processes that outlive the service, and how to find them again (see `holder`)."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.errors import HostError, Unavailable
from backends.host import holder
from backends.host.waiting import wait_until

_ROOT = Path(__file__).parents[2]
_SHORT = 5.0
_TRIES = 3


@dataclass(frozen=True)
class Held:
    """What a holder says of itself."""

    pid: int
    server: int
    """The program's process id; 0 while there is none."""
    state: str
    """Of the program: starting, ready, serving, none."""
    next: int
    starts: int
    failures: int
    """Starts in a row that came to nothing."""
    last: str
    """How the last program ended."""


def python(module: str) -> list[str]:
    """The command that runs a module of this program."""
    return [sys.executable, "-s", "-m", module]


def hold(
    directory: Path,
    descriptors: Sequence[int],
    argv: Sequence[str],
    *,
    spare: bool,
    adopt: int = 0,
) -> None:
    """Start a holder of these descriptors for `argv`; it has its lock and its socket when this
    returns. HostError when there is one already. `spare`: whether a successor stands ready at all
    times. `adopt`: the process id of a program that works with them already."""
    numbers = ",".join(str(number) for number in descriptors)
    facts = [str(directory), numbers, str(adopt), str(int(spare))]
    command = [sys.executable, "-I", "-S", holder.__file__, *facts]
    sys.audit("kedge.hold", str(directory))
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in descriptors]
        pid = os.posix_spawn(
            command[0], [*command, *argv], environment(), file_actions=actions, setsid=True
        )
    finally:
        os.close(log)
        os.close(null)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise HostError(f"the holder of {directory} did not start: {tail(directory)}")


def environment() -> dict[str, str]:
    """The service's own environment (its credentials may be there), and where its code is."""
    return {**os.environ, "PYTHONPATH": str(_ROOT)}


def held(directory: Path) -> Held | None:
    """What the holder of a directory says; None when it is gone. Unavailable when it is there and
    does not answer."""
    answer = ask(directory / "holder.sock", {"verb": "status"}, _SHORT)
    if answer is None:
        return None
    del answer["directory"]
    return Held(**answer)


def upgrade(directory: Path, argv: Sequence[str], seconds: float) -> Held:
    """Put a new program in the place of the one at work, without a gap. HostError when the new
    one does not come up: the old one goes on.."""
    before = ask(
        directory / "holder.sock",
        {"verb": "upgrade", "argv": list(argv), "root": str(_ROOT)},
        _SHORT,
    )
    if before is None:
        raise HostError(f"there is no holder of {directory} to upgrade")
    chosen, now = before["next"], held(directory)

    def settled() -> bool:
        nonlocal now
        now = held(directory)
        if now is None or (now.server != chosen and now.next != chosen):
            return True
        return now.server == chosen and now.state == "serving"

    if not wait_until(settled, seconds) or now is None or now.server != chosen:
        raise HostError(f"the new program of {directory} did not start: {tail(directory)}")
    return now


def end(directory: Path, seconds: float) -> bool:
    """Kill the program and its holder. True when both are gone (or were), False after `seconds`."""
    with contextlib.suppress(Unavailable):
        ask(directory / "holder.sock", {"verb": "end"}, seconds)
    return wait_gone(directory, seconds)


def wait_gone(directory: Path, seconds: float) -> bool:
    """Wait until no holder lives."""

    def gone() -> bool:
        try:
            return held(directory) is None
        except Unavailable:
            return False

    return wait_until(gone, seconds)


def listen(path: Path) -> socket.socket:
    """A listening Unix socket, whatever its path's length. OSError when the name is taken."""
    here = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
        listener.listen(64)
        return listener
    finally:
        os.close(here)


def connect(path: Path, seconds: float) -> socket.socket | None:
    """A connection to a Unix socket, whatever its path's length; None when nobody listens."""
    try:
        here = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(f"/proc/self/fd/{here}/{path.name}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise Unavailable(f"{path} cannot be reached: {error}") from error
    finally:
        os.close(here)
    return connection


def ask(path: Path, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
    """Send one JSON object, read one; None when nobody listens. Unavailable when the other side
    is there and says nothing in time. Sent again when the other side died meanwhile, so it must be
    harmless to repeat."""
    for _ in range(_TRIES):
        connection = connect(path, seconds)
        if connection is None:
            return None
        with connection:
            try:
                return exchange(connection, request, path, seconds, 0)[0]
            except _Died:
                continue
    raise Unavailable(f"{path}: whoever listens there dies before it answers")


class _Died(Unavailable):
    """The other side of a socket went away."""


def exchange(
    connection: socket.socket,
    request: Mapping[str, Any],
    path: Path,
    seconds: float,
    descriptors: int,
) -> tuple[dict[str, Any], list[int]]:
    """Send a request over a connection, read the answer and up to so many descriptors with it."""
    end, text, passed = time.monotonic() + seconds, b"", list[int]()
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        while not text.endswith(b"\n"):
            connection.settimeout(max(0.01, end - time.monotonic()))
            part, fds, _, _ = socket.recv_fds(connection, 65536, descriptors)
            passed += fds
            if not part:
                raise _Died(f"{path}: the other side went away before it answered")
            text += part
        answer: dict[str, Any] = json.loads(text)
    except (ConnectionResetError, BrokenPipeError) as error:
        raise _Died(f"{path}: the other side went away before it answered") from error
    except OSError as error:
        raise Unavailable(f"{path}: no answer: {error}") from error
    return answer, passed


def tail(directory: Path) -> str:
    """The last words of what a program wrote into its log."""
    try:
        text = (directory / "log").read_text(errors="replace")
    except OSError:
        return "it left no log"
    return " ".join(text.split())[-400:] or "it left no message"
