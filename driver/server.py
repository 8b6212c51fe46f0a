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
from collections.abc import Callable, Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gunicorn.app.base import BaseApplication

PR_SET_PDEATHSIG = 1

THREADS = 128
"""Calls at work at the same time: a Mount may wait for half a minute, and no Get behind it."""

Made = tuple[WSGIApplication, WSGIApplication]
"""The applications for Docker's socket and for the operator's."""

CONNECTIONS = 16_384
"""When the engine starts it asks for every volume it knows, all at once."""


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
            "worker_connections": CONNECTIONS,
            "backlog": CONNECTIONS,
            "keepalive": 0,  # a server that closes idle connections races with the next request
            "timeout": 60,
            "graceful_timeout": 6,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "kedge",
            "post_fork": _end_with,
        }
        for key, value in settings.items():
            self.cfg.set(key, value)

    def load(self) -> WSGIApplication:  # type: ignore[override]
        """Called in the worker: the two applications behind one door."""
        for_docker, for_operator = self._make()
        admin = str(self._paths[1])

        def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            connection: socket.socket = environ["gunicorn.socket"]
            chosen = for_operator if connection.getsockname() == admin else for_docker
            return chosen(environ, start)

        return application


def _end_with(parent: object, worker: object) -> None:
    """In the worker: die at once when the parent does, whatever the threads are at. A worker that
    lingered would share sockets and ledger with the one that follows."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != getattr(parent, "pid", 0):  # it had died before that
        os._exit(1)


def prepare(paths: Iterable[Path], *, inherited: bool) -> None:
    """Before serving: room for file descriptors, and no stale socket where ours will be, unless
    the sockets are `inherited`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if inherited:
        return
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
