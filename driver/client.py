"""A caller of the operator's socket: JSON over HTTP over a Unix socket."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

SECONDS = 60.0


class Refused(Exception):
    """The service said no; the message is its sentence, `code` its kind."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(Exception):
    """No service answers on the socket."""


class Client:
    """One request per call; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, method: str, *segments: str, **fields: str) -> Any:
        """The decoded answer. Raises Refused or Unreachable."""
        connection = _Connection(self._path)
        try:
            target = "/" + "/".join(quote(segment, safe="") for segment in segments)
            connection.request(method, target, body=json.dumps(fields) if fields else None)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no kedge service answers on {self._path} ({error}); is it running?"
            ) from None
        finally:
            connection.close()
        return _checked(response.status, body)

    def follow(
        self,
        method: str,
        *segments: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
        data: Callable[[bytes], object] = lambda content: None,
        **fields: str,
    ) -> Any:
        """The same for a request that is answered by frames (`streaming`). Unreachable when the
        service ends before the work does."""
        connection = _Connection(self._path)
        try:
            target = "/" + "/".join(quote(segment, safe="") for segment in segments)
            connection.request(method, target, body=json.dumps(fields) if fields else None)
            response = connection.getresponse()
            if response.status != 200:
                return _checked(response.status, response.read())
            return _result(_frames(response), progress, data)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no kedge service answers on {self._path} ({error})") from None
        finally:
            connection.close()


def _frames(response: http.client.HTTPResponse) -> Iterator[tuple[bytes, bytes]]:
    while len(head := response.read(5)) == 5:
        yield head[:1], response.read(int.from_bytes(head[1:], "big"))


def _result(
    frames: Iterator[tuple[bytes, bytes]],
    progress: Callable[[int, int], None],
    data: Callable[[bytes], object],
) -> Any:
    for kind, content in frames:
        if kind == b"D":
            data(content)
        elif content:
            document = json.loads(content)
            if kind == b"R":
                return document
            if kind == b"E":
                raise Refused(document["error"], document["code"])
            progress(document["done"], document["total"])
    raise Unreachable("the service ended before the work was done; look whether it was")


def _checked(status: int, body: bytes) -> Any:
    try:
        document = json.loads(body)
    except ValueError:
        document = {"error": f"unexpected answer (status {status})", "code": "fault"}
    if status != 200:
        raise Refused(document.get("error", "refused"), document.get("code", "error"))
    return document


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("kedge", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))
