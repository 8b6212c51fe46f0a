"""What is asked of one cluster as one client. Nothing here waits longer than the timeout.

librados would wait for ever, and ignores the timeout that `connect` takes: the three options below
are what bounds it. They hold for these connections only. What carries a volume's data has none:
there, a cluster that is away must stall the writer and not fail him.

Commands to the mgr have a connection of their own without the second option: librados leaves such
a command behind when that time is over, and crashes when its answer comes after all. So a thread
waits for it, and is what is left behind.
"""

import errno
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backends.ceph.connection import Connection
from backends.ceph.failures import Absent, explained, failure, number_of
from backends.ceph.options import CephSettings
from backends.errors import KedgeError, Unavailable
from backends.host.bounded import Bounded

_Send = Callable[[str], tuple[int, bytes, str]]

_LIMITS = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
_MGR_LIMITS = ("client_mount_timeout",)
_LEFT_BEHIND = 16
"""Commands that the mgr may owe an answer at the same time."""
_SPENT = {errno.ESHUTDOWN, errno.EACCES, errno.EPERM}
_READING = ("health", "df", " ls", "getpath", "_list", "info")
NAMESPACE = "kedge"
"""Of everything in the pool that is not an RBD image."""


class Cluster:
    """Connects when it is first asked, and again after it was cut off. Thread-safe."""

    def __init__(self, settings: CephSettings) -> None:
        self.settings = settings
        self._connection = Connection(settings, _LIMITS)
        self._to_mgr = Connection(settings, _MGR_LIMITS)
        self._owed = threading.BoundedSemaphore(_LEFT_BEHIND)

    def mon(self, prefix: str, **arguments: Any) -> Any:
        """A monitor's answer. Absent, Conflict, NoSpace, Unavailable as `failure` says."""
        handle = self._connection.handle()
        return self._command(lambda text: handle.mon_command(text, b""), prefix, arguments)

    def mgr(self, prefix: str, **arguments: Any) -> Any:
        """The mgr's answer; see `mon`. What it was asked in vain it may still do later."""
        return self._command(self._ask_mgr, prefix, arguments)

    @contextmanager
    def pool(self, namespace: str = "") -> Iterator[Any]:
        """The pool (an `rados.Ioctx`) for the block. Unavailable when it does not exist."""
        name = self.settings.pool
        handle = self._connection.handle()
        try:
            with self._reached(f"open pool {name}"):
                opened = handle.open_ioctx(name)
        except Absent as error:
            raise Unavailable(
                f"pool {name!r} does not exist; create it, or name another in the profile"
            ) from error
        try:
            opened.set_namespace(namespace)
            opened.set_osdmap_full_try()  # a full pool refuses what would grow; else we would wait
            with self._reached("use pool " + name):
                yield opened
        finally:
            opened.close()

    def fsid(self) -> str:
        """The identity of the cluster."""
        handle = self._connection.handle()
        with self._reached("ask for the cluster's identity"):
            return str(handle.get_fsid())

    def address(self) -> str:
        """By which the cluster knows this process now, as watches and blocklists name it."""
        handle = self._connection.handle()
        with self._reached("ask for this client's address"):
            return str(handle.get_addrs()).rpartition("v2:")[2].rpartition("v1:")[2]

    def close(self) -> None:
        """Let go of the connections; the next call makes new ones."""
        self._connection.close()
        self._to_mgr.close()

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        """Explain errors; a connection that the cluster has cut off, or that was refused, is not
        used again: what a client may do is settled when it connects."""
        try:
            with explained(what):
                yield
        except KedgeError as error:
            if number_of(error.__cause__) in _SPENT:
                self.close()
            raise

    def _command(self, send: _Send, prefix: str, arguments: dict[str, Any]) -> Any:
        what = f"ceph {prefix}"
        if not prefix.endswith(_READING):
            sys.audit("kedge.ceph", what, arguments)
        request = json.dumps({"prefix": prefix, "format": "json", **arguments})
        with self._reached(what):
            code, output, said = send(request)
        if abs(code) in _SPENT:
            self.close()
        if code:
            raise failure(what, code, said)
        try:
            return json.JSONDecoder().raw_decode(output.decode().strip())[0]
        except ValueError:
            return output.decode().strip()

    def _ask_mgr(self, request: str) -> tuple[int, bytes, str]:
        seconds = self.settings.timeout
        silent = Unavailable("the cluster's mgr does not answer in time; try again")
        handle = self._to_mgr.handle()
        if not self._owed.acquire(timeout=seconds):
            raise silent

        def ask() -> tuple[int, bytes, str]:
            try:
                answer: tuple[int, bytes, str] = handle.mgr_command(request, b"")
                return answer
            finally:
                self._owed.release()

        return Bounded(ask).result(seconds, silent)
