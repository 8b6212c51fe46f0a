"""The sessions of this node's leases since it booted, on disk before they are used.

A lease whose session is remembered here was this very machine's: it is taken over at once after
the service restarts. After a reboot nothing is remembered, because the disk may be a copy whose
original runs on.
"""

import json
from pathlib import Path

from driver import state_file

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
        state_file.write(self._path, {"boot": self._boot_id, "sessions": self.own})


def _read(path: Path, boot_id: str) -> tuple[str, ...]:
    try:
        document = json.loads(path.read_text())
        if document["boot"] != boot_id:
            return ()
        return tuple(str(session) for session in document["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
