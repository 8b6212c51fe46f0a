"""The sessions of this node's leases since it booted, on disk before they are used.

A lease whose session is remembered here was this very machine's: it is taken over at once after
the service restarts. After a reboot nothing is remembered, because the disk may be a copy whose
original runs on.
"""

import json
import os
from pathlib import Path

KEPT = 4
"""Only the last one or two can still stand in a lease record."""


class Sessions:
    """Of one profile. Not thread-safe: its lease serialises the calls."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Absent, damaged or from before the last boot: begins empty, which costs a ttl."""
        self._path = path
        self._boot_id = boot_id
        self.own: tuple[str, ...] = _read(path, boot_id)

    def remember(self, session: str) -> None:
        """Durable when this returns. Raises OSError."""
        self.own = (*self.own, session)[-KEPT:]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(self._path.name + ".new")
        with new.open("w") as file:
            json.dump({"boot": self._boot_id, "sessions": self.own}, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _read(path: Path, boot_id: str) -> tuple[str, ...]:
    try:
        document = json.loads(path.read_text())
        if document["boot"] != boot_id:
            return ()
        return tuple(str(session) for session in document["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
