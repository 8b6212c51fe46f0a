"""How much lies below a subvolume: its client asks the MDS, and who asks it waits in the kernel."""

import os
from pathlib import Path

from backends.errors import Unavailable
from backends.host.bounded import Bounded


class Gauge:
    """Asks each subvolume one question at a time, so that one that does not answer keeps one
    thread, however often it is asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[str, Bounded[int]] = {}

    def used(self, uuid: str, target: Path) -> int:
        """Bytes below the mounted `target`. Unavailable when there is no answer in time; then the
        next call takes the answer to the same question, and does not wait for it. OSError."""
        waiting = self._open.pop(uuid, None)
        question = waiting or Bounded(lambda: _below(target))
        late = Unavailable(f"CephFS does not say in time how much is below {target}; try again")
        try:
            return question.result(0 if waiting else self._seconds, late)
        except Unavailable:
            self._open[uuid] = question
            raise


def _below(target: Path) -> int:
    return int(os.getxattr(target, "ceph.dir.rbytes"))
