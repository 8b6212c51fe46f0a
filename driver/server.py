"""The server: gunicorn, one worker process with threads, on sockets it inherits or makes.

Sockets come ready and listening from systemd or from the plugin's init, so a caller can connect
before the service is up and while it restarts. gunicorn's parent listens first and the
application is made in the worker, after the fork.
"""

import ctypes
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.message import Request
from gunicorn.http.wsgi import Response
from gunicorn.workers.base import Worker

from driver.log import Brief

PR_SET_PDEATHSIG = 1

PR_SET_PDEATHSIG = 1

THREADS = 128
"""Calls at work at the same time: a Mount may wait for half a minute, and no Get behind it."""

PR_SET_PDEATHSIG = 1

Made = tuple[WSGIApplication, WSGIApplication]
"""The applications for Docker's socket and for the operator's."""

CONNECTIONS = 16_384
"""When the engine starts it asks for every volume it knows, all at once."""
OWN_FILES = 512
"""Open files that are no connections: the rest of what the process may open."""


class Server(BaseApplication):
    """Serves `make()`: (application for Docker's socket, application for the operator's)."""

    def __init__(
        self,
        socket: Path,
        admin_socket: Path,
        make: Callable[[], Made],
    ) -> None:
        self._paths = (socket, admin_socket)
        self._make = make
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings; none is read from its environment or files."""
        settings = {
            "bind": [f"unix:{path}" for path in self._paths],
            "umask": 0o177,
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_connections": _room_for_connections(),
            "backlog": CONNECTIONS,
            "keepalive": 0,  # a server that closes idle connections races with the next request
            "timeout": 60,
            "graceful_timeout": 6,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "logger_class": _Log,
            "post_fork": _end_with_parent,
            "post_request": _hang_up_first,
            "control_socket_disable": True,
            "proc_name": "kedge",
        }
        for key, value in settings.items():
            self.cfg.set(key, value)

    def load(self) -> WSGIApplication:  # type: ignore[override]
        """Called in the worker: the two applications behind one door."""
        for_docker, for_operator = self._make()
        admin = str(self._paths[1])

        def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            environ["HTTP_HOST"] = "kedge"  # Docker sends any, or none; nothing depends on it
            connection: socket.socket = environ["gunicorn.socket"]
            chosen = for_operator if connection.getsockname() == admin else for_docker
            return chosen(environ, start)

        return application


def prepare(paths: Iterable[Path], *, inherited: bool) -> None:
    """Before serving: room for file descriptors, and no stale socket where ours will be, unless
    the sockets are `inherited`. OSError when another service answers there."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if inherited:
        return
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(f"another service answers on {path}; stop it first")
        path.unlink(missing_ok=True)


def renew_in(seconds: float) -> None:
    """End this worker after a while; gunicorn starts another, which makes the application anew."""
    renewal = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    renewal.daemon = True
    renewal.start()


class _Log(Logger):
    """gunicorn's words by our rules: its parent process must not block on a reader either."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers = [Brief()]


def _room_for_connections() -> int:
    """gunicorn's worker ends when it cannot accept for want of file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(CONNECTIONS, soft - OWN_FILES))


def _hang_up_first(_: Worker, __: Request, environ: WSGIEnvironment, ___: Response) -> None:
    """Else gunicorn waits for the caller to hang up, in the thread that accepts all others. On a
    Unix socket what was written is not lost by it."""
    with suppress(OSError):
        environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)


def _end_with_parent(_: Arbiter, worker: Worker) -> None:
    """A worker whose parent was killed must not serve beside its successor, not for a moment."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker.ppid:
        os._exit(1)
