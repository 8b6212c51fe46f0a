"""Docker's volume-plugin protocol: decode, call, encode, one table of errors.

Every answer has status 200; a refusal is in `Err`, which Docker shows as it is. The exception is
Get: Docker takes *any* error there for "this volume does not exist" and forgets its labels,
options and references. So Get says "not found" only when that is certain; when it is not, the
connection is closed without an answer, which Docker takes for an unreachable driver. That holds
for the empty-bodied repeats that follow, too.
"""

import logging
import socket
import struct
from collections.abc import Callable
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from backends.errors import Invalid, KedgeError, NotFound
from driver.status import View
from driver.volumes import Volumes
from driver.wire import MAX_BODY, Request, decode

log = logging.getLogger(__name__)
Reply = dict[str, Any]


PREVENTABLE = frozenset({"VolumeDriver.Create", "VolumeDriver.Remove", "VolumeDriver.Mount"})
"""Not begun when nobody waits for the answer. An Unmount is always carried out."""


class Hangup(Exception):
    """Close the connection without an answer."""


def app(volumes: Volumes) -> Flask:
    """The WSGI application for Docker's socket."""
    flask = Flask(__name__)
    flask.json.sort_keys = False  # type: ignore[attr-defined]
    endpoints: dict[str, Callable[[], Reply]] = {
        "Plugin.Activate": lambda: {"Implements": ["VolumeDriver"]},
        "VolumeDriver.Capabilities": lambda: _capabilities(volumes),
        "VolumeDriver.Create": lambda: _create(volumes, _body()),
        "VolumeDriver.Remove": lambda: _remove(volumes, _body()),
        "VolumeDriver.Mount": lambda: _mount(volumes, _body(needs_id=True)),
        "VolumeDriver.Unmount": lambda: _unmount(volumes, _body(needs_id=True)),
        "VolumeDriver.Path": lambda: _path(volumes, _body()),
        "VolumeDriver.Get": lambda: _get(volumes),
        "VolumeDriver.List": lambda: _list(volumes),
    }
    for method, answer in endpoints.items():
        flask.add_url_rule(f"/{method}", method, _guarded(method, answer), methods=["POST"])
    flask.register_error_handler(Hangup, lambda _: hang_up())
    flask.register_error_handler(404, lambda _: ({"Err": f"no such call: {request.path}"}, 404))
    flask.register_error_handler(405, lambda _: ({"Err": "calls are made with POST"}, 405))
    return flask


def _guarded(method: str, answer: Callable[[], Reply]) -> Callable[[], Reply]:
    """The one table of errors."""

    def guarded() -> Reply:
        try:
            if method in PREVENTABLE and _caller_is_gone():
                raise Hangup  # it waited in line for too long; the engine has said it failed
            return answer()
        except Hangup:
            raise
        except KedgeError as error:
            log.info("%s refused: %s", method, error)
            return {"Err": str(error)}
        except Exception:
            log.exception("%s failed by a fault in kedge", method)
            return {"Err": f"{method} failed by a fault in kedge; its log has the details"}

    return guarded


def _body(*, needs_id: bool = False) -> Request:
    return decode(_read(), needs_id=needs_id)


def _read() -> bytes:
    """The body, if it is as long as announced: the rest of one that broke off may be JSON, too."""
    try:
        body = request.stream.read(MAX_BODY + 1)
    except (OSError, HTTPException) as error:
        raise Invalid(f"the request broke off ({error})") from error
    if len(body) < min(request.content_length or 0, MAX_BODY + 1):
        raise Invalid(f"the request broke off after {len(body)} bytes of its body")
    return body


def _capabilities(volumes: Volumes) -> Reply:
    return {"Capabilities": {"Scope": "global" if volumes.everywhere else "local"}}


def _create(volumes: Volumes, asked: Request) -> Reply:
    volumes.create(asked.name, dict(asked.options))
    return {"Err": ""}


def _remove(volumes: Volumes, asked: Request) -> Reply:
    volumes.remove(asked.name)
    return {"Err": ""}


def _mount(volumes: Volumes, asked: Request) -> Reply:
    target = volumes.mount(asked.name, asked.mount_id, caller=_caller())
    if _caller_is_gone():
        # No Unmount follows a Mount whose answer nobody read.
        log.warning("volume %s: the engine left before its Mount was done; undone", asked.name)
        volumes.unmount(asked.name, asked.mount_id)
        raise Hangup
    return {"Mountpoint": str(target), "Err": ""}


def _unmount(volumes: Volumes, asked: Request) -> Reply:
    volumes.unmount(asked.name, asked.mount_id)
    return {"Err": ""}


def _path(volumes: Volumes, asked: Request) -> Reply:
    mountpoint = volumes.get(asked.name).mountpoint
    if not mountpoint:  # an empty path would be taken for the plugin's own root
        raise NotFound(f"volume {asked.name} is not mounted on this node")
    return {"Mountpoint": mountpoint, "Err": ""}


def _get(volumes: Volumes) -> Reply:
    try:
        asked = _body()
    except Exception as error:
        log.warning("Get without a name (%s); connection closed", error)
        raise Hangup from None
    try:
        view = volumes.get(asked.name)
    except (NotFound, Invalid):
        raise  # certain: such a volume is not there, or cannot be
    except Exception as error:
        log.warning("Get of %s cannot be answered: %s", asked.name, error)
        raise Hangup from error
    shown = {**_brief(view), "CreatedAt": view.created, "Status": dict(view.status)}
    return {"Volume": shown, "Err": ""}


def _list(volumes: Volumes) -> Reply:
    _read()
    return {"Volumes": [_brief(view) for view in volumes.list()], "Err": ""}


def _brief(view: View) -> Reply:
    return {"Name": view.name, "Mountpoint": view.mountpoint}


def _connection() -> socket.socket | None:
    found: socket.socket | None = request.environ.get("gunicorn.socket")
    return found


def _caller() -> int:
    """The engine's process id; 0 if it is in another process namespace, or not known."""
    connection = _connection()
    if connection is None:
        return 0
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, size))
    return int(pid)


def _caller_is_gone() -> bool:
    connection = _connection()
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def hang_up() -> Response:
    """Nothing of this response reaches the caller: the connection is closed under it."""
    if connection := _connection():
        connection.shutdown(socket.SHUT_RDWR)
    return Response(status=503)
