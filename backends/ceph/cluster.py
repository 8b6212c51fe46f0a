"""The connection to one cluster as one client. Nothing here waits longer than the timeout.

librados would wait for ever, and ignores the timeout that `connect` takes: the three options below
are what bounds it. They hold for this connection only. What carries a volume's data has none:
there, a cluster that is away must stall the writer and not fail him.
"""

import errno
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backends.ceph import bindings
from backends.ceph.failures import Absent, explained, failure, number_of
from backends.ceph.options import CephSettings
from backends.errors import KedgeError, Unavailable

_LIMITS = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
_READING = ("health", "df", " ls", "getpath", "_list", "info")
NAMESPACE = "kedge"
"""Of everything in the pool that is not an RBD image."""


class Cluster:
    """Connects when it is first asked, and again after it was cut off. Thread-safe."""

    def __init__(self, settings: CephSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._handle: Any = None
        self._failures = 0

    def mon(self, prefix: str, **arguments: Any) -> Any:
        """A monitor's answer. Absent, Conflict, NoSpace, Unavailable as `failure` says."""
        return self._command("mon_command", prefix, arguments)

    def mgr(self, prefix: str, **arguments: Any) -> Any:
        """A manager's answer; see `mon`."""
        return self._command("mgr_command", prefix, arguments)

    @contextmanager
    def pool(self, namespace: str = "") -> Iterator[Any]:
        """The pool (an `rados.Ioctx`) for the block. Unavailable when it does not exist."""
        name = self.settings.pool
        handle = self._connected()
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
        handle = self._connected()
        with self._reached("ask for the cluster's identity"):
            return str(handle.get_fsid())

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        with self._lock:
            self._handle = None  # shut down by the last thread that still uses it

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        """Explain errors; a connection that the cluster has cut off is not used again."""
        try:
            with explained(what):
                yield
        except KedgeError as error:
            if number_of(error.__cause__) == errno.ESHUTDOWN:
                self.close()
            raise

    def _command(self, how: str, prefix: str, arguments: dict[str, Any]) -> Any:
        handle = self._connected()
        what = f"ceph {prefix}"
        if not prefix.endswith(_READING):
            sys.audit("kedge.ceph", what, arguments)
        request = json.dumps({"prefix": prefix, "format": "json", **arguments})
        with self._reached(what):
            code, output, said = getattr(handle, how)(request, b"")
        if code:
            raise failure(what, code, said)
        try:
            return json.JSONDecoder().raw_decode(output.decode().strip())[0]
        except ValueError:
            return output.decode().strip()

    def _connected(self) -> Any:
        """The handle. Callers that waited while somebody else failed to connect fail with him."""
        seen = self._failures
        with self._lock:
            if self._handle is not None:
                return self._handle
            if self._failures != seen:
                raise Unavailable(f"the cluster of {self._where()} does not answer; try again")
            try:
                self._handle = self._connect()
            except BaseException:
                self._failures += 1
                raise
            return self._handle

    def _connect(self) -> Any:
        settings = self.settings
        self._check_files()
        options = dict.fromkeys(_LIMITS, str(round(settings.timeout)))
        options["keyring"] = str(settings.keyring)
        if settings.monitors is not None:
            options["mon_host"] = settings.monitors
        conffile = None if settings.monitors is not None else str(settings.conf)
        try:
            rados = bindings.rados()
        except ImportError as error:
            raise Unavailable(f"{error}; {bindings.INSTALL}") from error
        with explained(f"connect to the cluster of {self._where()} as client.{settings.client}"):
            handle = rados.Rados(name=f"client.{settings.client}", conffile=conffile, conf=options)
            try:
                handle.connect()
            except BaseException:
                handle.shutdown()
                raise
            return handle

    def _check_files(self) -> None:
        """librados would call every one of these the same: invalid, or refused."""
        files = [self.settings.keyring]
        files += [self.settings.conf] if self.settings.monitors is None else []
        for path in files:
            try:
                path.read_bytes()
            except OSError as error:
                raise Unavailable(
                    f"{path} cannot be read ({error.strerror}); put Ceph's file there, or name "
                    "another in the profile"
                ) from error

    def _where(self) -> str:
        return self.settings.monitors or str(self.settings.conf)
