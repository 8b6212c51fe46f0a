"""The thread behind an open disk: ships when it is time, checkpoints, collects, reports."""

import threading
from collections.abc import Callable

from backends.disk.engine import Disk
from backends.errors import KedgeError, Unavailable

SEAL_BYTES = 32 << 20
"""A record is a request besides those for its data: one for each `rpo`, unless so much waits."""
_TEND_SECONDS = 5.0
_SETTLE_SECONDS = 0.2
"""After a start nothing else is done for so long: first all who wait are served."""


class Worker:
    """Ships what has waited for `rpo` seconds, or SEAL_BYTES of it at once. What a predecessor left
    has waited for nobody knows how long: servers that die every second must not keep it."""

    def __init__(
        self,
        disk: Disk,
        *,
        rpo: float,
        clock: Callable[[], float],
        complain: Callable[[str, Exception], None],
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        """`rest` is called now and then when nothing is due."""
        self.last_error = ""
        self._disk = disk
        self._rpo = rpo
        self._clock = clock
        self._complain = complain
        self._rest = rest
        self._began = clock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)

    def start(self) -> None:
        """Work from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being done."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        settled = self._clock() + _SETTLE_SECONDS
        tended, copying = settled - _TEND_SECONDS, False  # an heir has much to sum up
        while not self._ending.is_set():
            try:
                if self._due():
                    self._disk.ship()
                if self._clock() - tended >= _TEND_SECONDS:
                    self._disk.tend(hurried=self._due)
                    tended, copying = self._clock(), True
                    if not self._due():
                        self._rest()
                if copying and not self._due():
                    copying = self._disk.compact()
                self.last_error = ""
                if self._due():
                    continue
            except Unavailable as error:
                self.last_error = error.message
            except KedgeError as error:
                self.last_error = error.message
                self._disk.fail(error)
                self._complain("shipping", error)
                self._rescue()
                return
            except Exception as error:
                self.last_error = repr(error)
                self._complain("shipping", error)
                self._ending.wait(1.0)
            self._disk.wait(0 if copying else min(self._rpo, 1.0) / 4)

    def _rescue(self) -> None:
        """Nothing is acknowledged any more, and what was may still be readable here."""
        try:
            self._disk.rescue()
        except KedgeError as error:
            self._complain("rescuing what the local log holds", error)

    def _due(self) -> bool:
        since = self._disk.dirty_since
        if since is None:
            return False
        waiting = len(self._disk.parts.overlay) * 4096
        pressed = self._disk.pressed > 0 or waiting >= SEAL_BYTES
        inherited = since <= self._began
        patience = min(self._rpo, _SETTLE_SECONDS) if inherited else self._rpo
        return pressed or self._clock() - since >= patience
