"""One connection to a cluster as one client, made when it is first needed."""

import os
import threading
from collections.abc import Sequence
from typing import Any

from backends.ceph import bindings
from backends.ceph.failures import explained
from backends.ceph.options import CephSettings
from backends.errors import Unavailable


class Connection:
    """`bounded`: the options of librados that shall not wait longer than the profile's timeout.
    Connects again after `close`. Thread-safe."""

    def __init__(self, settings: CephSettings, bounded: Sequence[str]) -> None:
        self._settings = settings
        self._bounded = bounded
        self._lock = threading.Lock()
        self._handle: Any = None
        self._failures = 0

    def handle(self) -> Any:
        """The `rados.Rados`. Callers that waited while somebody else failed to connect fail with
        him."""
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

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        with self._lock:
            self._handle = None  # its last user shuts it down

    def _connect(self) -> Any:
        settings = self._settings
        self._check_files()
        options = configuration(settings, self._bounded)
        conffile = None if settings.monitors is not None else str(settings.conf)
        try:
            rados = bindings.rados()
        except ImportError as error:
            raise Unavailable(f"{error}; {bindings.INSTALL}") from error
        with explained(f"connect to the cluster of {self._where()} as client.{settings.client}"):
            handle = ending(rados.Rados)(
                name=f"client.{settings.client}", conffile=conffile, conf=options
            )
            handle.connect()
            return handle

    def _check_files(self) -> None:
        """librados would call every one of these the same: invalid, or refused."""
        files = [self._settings.keyring]
        files += [self._settings.conf] if self._settings.monitors is None else []
        for path in files:
            try:
                path.read_bytes()
            except OSError as error:
                raise Unavailable(
                    f"{path} cannot be read ({error.strerror}); put Ceph's file there, or name "
                    "another in the profile"
                ) from error

    def _where(self) -> str:
        return self._settings.monitors or str(self._settings.conf)


def configuration(settings: CephSettings, bounded: Sequence[str]) -> dict[str, str]:
    """What librados is told.

    A client that has been idle may know an OSD at an address where it is no more. It asks for a
    new map only once an operation has waited for `objecter_timeout`, which it looks after every
    `objecter_tick_interval` (10 and 5 seconds, if nobody says otherwise): operations that have to
    end before would fail for ever."""
    told = dict.fromkeys(bounded, str(round(settings.timeout)))
    told["objecter_timeout"] = str(settings.timeout / 4)
    told["objecter_tick_interval"] = str(settings.timeout / 8)
    told["keyring"] = str(settings.keyring)
    if settings.monitors is not None:
        told["mon_host"] = settings.monitors
    return told


def ending(kind: type[Any]) -> type[Any]:
    """A `rados.Rados` that is shut down when nobody has it any more: of itself it would keep its
    dozen threads, which look for the cluster for ever. A copy in a forked process has none."""
    maker = os.getpid()

    def end(self: Any) -> None:
        if os.getpid() == maker:
            self.shutdown()

    return type("Client", (kind,), {"__del__": end})
