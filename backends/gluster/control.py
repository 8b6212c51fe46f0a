"""The client through which a profile's records and all data are reached while not attached."""

import threading
from pathlib import Path

from backends.gluster.client import Client, Export

_COHERENT = ("--attribute-timeout=0", "--entry-timeout=0", "--negative-timeout=0")
"""Other nodes change records at any time: the kernel must not answer from memory."""


class Control:
    """One per profile and node. Its mount is seen by this service only."""

    def __init__(self, export: Export, directory: str, point: Path, seconds: float) -> None:
        self._lock = threading.Lock()
        self.client = Client(export, point, _COHERENT, seconds)
        self.root = point / directory

    def ensure(self) -> None:
        """Mounted when this returns; a client that died is replaced."""
        if self.client.usable():
            return
        with self._lock:
            self.client.start()

    def replace(self) -> None:
        """End the client, and every call that waits for it; the next call gets another one. One
        that is only about to mount is left alone: it may just be waiting for a server."""
        if self.client.usable():
            self.client.cut_off()
