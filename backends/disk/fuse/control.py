"""Talking to a server besides its files: one JSON object per line on DIRECTORY/server.sock.

    {"verb": "status"}            how it is
    {"verb": "resize", "size": N} grow the device (which must be able to), then tell the kernel
    {"verb": "descriptors"}       the kept descriptors themselves, for a new holder
    {"verb": ANY, ...}            the device's own, if it has `command`

The listening socket is kept by the holder like the rest, so callers wait, and do not fail, while
the server is being restarted. Only root can open the directory.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from backends import errors
from backends.errors import HostError, KedgeError, Unavailable
from backends.host import daemons

SOCKET = "server.sock"
_CALLERS = 8
_REQUEST_SECONDS = 5.0


@runtime_checkable
class Commanded(Protocol):
    """A device with verbs of its own."""

    def command(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do it; the answer is JSON. Raises KedgeError: Invalid for an unknown verb."""


@runtime_checkable
class Growable(Protocol):
    """A device that can grow while it is used."""

    def resize(self, size: int) -> None:
        """Grow to `size` bytes, durably. The same size: does nothing."""


Handler = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


def listen(directory: Path) -> socket.socket:
    """The listening socket of a volume's servers, bound anew."""
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    return daemons.listen(path)


def call(
    directory: Path, verb: str, arguments: Mapping[str, Any] | None = None, *, seconds: float
) -> dict[str, Any]:
    """Ask the server. Unavailable when there is none, or no answer in time; otherwise what the
    server raised."""
    found = daemons.ask(directory / SOCKET, {**(arguments or {}), "verb": verb}, seconds)
    if found is None:
        raise Unavailable(f"no data path runs in {directory}")
    return _good(found)


def descriptors(directory: Path, count: int, seconds: float) -> tuple[int, list[int]]:
    """The server's process id and the kept descriptors, duplicated for this process."""
    connection = daemons.connect(directory / SOCKET, seconds)
    if connection is None:
        raise Unavailable(f"no data path runs in {directory}")
    with connection:
        request = {"verb": "descriptors"}
        path = directory / SOCKET
        answer, passed = daemons.exchange(connection, request, path, seconds, count)
    if len(passed) != count:
        raise HostError(f"the server of {directory} passed {len(passed)} descriptors of {count}")
    return int(_good(answer)["pid"]), passed


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        kind = _kinds().get(answer["error"], HostError)
        raise kind(answer["message"])
    return answer


def _kinds() -> dict[str, type[KedgeError]]:
    """The errors that a message can carry: those made from one sentence."""
    found = {}
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, KedgeError) and one.__init__ is _PLAIN:
            found[one.code] = one
    return found


_PLAIN = KedgeError.__init__


class Answering:
    """Answers callers, each in a thread of its own, a few at a time."""

    def __init__(self, listener: socket.socket, handler: Handler, kept: Sequence[int]) -> None:
        self._listener = listener
        self._handler = handler
        self._kept = list(kept)
        self._places = threading.Semaphore(_CALLERS)

    def start(self) -> None:
        """Answer from now on, in the background."""
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._places.acquire()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                request: dict[str, Any] = json.loads(connection.makefile("rb").readline(65536))
                verb = request.pop("verb")
                passed = self._kept if verb == "descriptors" else []
                answer = json.dumps(self._answer(verb, request)).encode() + b"\n"
                socket.send_fds(connection, [answer], passed)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a caller that says nothing sensible or went away
        finally:
            self._places.release()

    def _answer(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._handler(verb, arguments)
        except KedgeError as error:
            return {"error": error.code, "message": error.message}
        except Exception as error:
            return {"error": HostError.code, "message": f"{verb} failed: {error!r}"}
