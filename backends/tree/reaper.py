"""Deleting what was removed, in the background: a million files must not hold up an answer."""

import os
import threading
from pathlib import Path

from backends.errors import KedgeError
from backends.host import trees
from backends.host.failures import explained

PREFIX = ".removing-"


class Reaper:
    """Deletes every directory `.removing-*` below one directory. Thread-safe; several nodes may
    work on the same directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        self.problem = ""
        """Why something could not be deleted, for people; empty when all went well."""

    def start(self) -> None:
        """Delete what is there now. Returns at once."""
        with self._lock:
            self._again = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the work is done. False: it goes on."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def left(self) -> list[str]:
        """The directories that still wait to be deleted."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.startswith(PREFIX))

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again:
                    self._thread = None
                    return
                self._again = False
            self.problem = self._sweep()

    def _sweep(self) -> str:
        problem = ""
        for name in self.left():
            try:
                with explained(f"delete {self._directory / name}"):
                    trees.delete(self._directory / name)
            except KedgeError as error:
                problem = str(error)
        return problem
