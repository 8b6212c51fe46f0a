"""What Status says of the cluster, from memory: learnt now and then, by who lists the volumes."""

import contextlib
import threading
from collections.abc import Callable

from backends.ceph.cluster import Cluster
from backends.ceph.sessions import Session, Sessions
from backends.errors import KedgeError

EVERY = 10_000
"""Milliseconds between two questions."""


class Pulse:
    """Thread-safe. `moment`: a clock in milliseconds."""

    def __init__(self, cluster: Cluster, sessions: Sessions, moment: Callable[[], int]) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._moment = moment
        self._lock = threading.Lock()
        self._last: int | None = None
        self._health = ""
        self._clients: dict[str, list[Session]] = {}

    def beat(self) -> None:
        """Ask again, if it is time. A cluster that is away makes this no slower than a timeout,
        and is no error."""
        with self._lock:
            now = self._moment()
            if self._last is not None and 0 <= now - self._last < EVERY:
                return
            self._last = now
        health, clients = "", None
        with contextlib.suppress(KedgeError):
            health = str(self._cluster.mon("health")["status"]).removeprefix("HEALTH_").lower()
            clients = self._sessions.all()
        with self._lock:
            self._health = health or "unreachable"
            self._clients = self._clients if clients is None else clients

    def shown(self, uuid: str) -> dict[str, str]:
        """Health in a word, and whose clients have the volume open, by name of the node."""
        with self._lock:
            health, clients = self._health, self._clients.get(uuid, [])
        facts = {"health": health} if health else {}
        if carrying := sorted(f"{c.node} ({c.address or c.user})" for c in clients if not c.work):
            facts["clients"] = ", ".join(carrying)
        return facts
