"""How much lies below a subvolume: its client asks the MDS, and who asks it waits in the kernel."""

import os
from pathlib import Path

from backends.errors import Unavailable
from backends.host.bounded import Bounded


class _Question:
    """Asked once; the answer may come late."""

    def __init__(self, target: Path) -> None:
        self._answers: list[int] = []
        self._call = Bounded(lambda: self._answers.append(_below(target)))

    def answer(self, seconds: float) -> int | None:
        """None: there is none yet. OSError."""
        return self._answers[0] if self._call.done(seconds) else None


class Gauge:
    """Asks each subvolume one question at a time, so that one that does not answer keeps one
    thread, however often it is asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[str, _Question] = {}

    def used(self, uuid: str, target: Path) -> int:
        """Bytes below the mounted `target`. Unavailable when there is no answer in time; then the
        next call takes the answer to the same question, and does not wait for it. OSError."""
        waiting = self._open.pop(uuid, None)
        question = waiting or _Question(target)
        found = question.answer(0 if waiting else self._seconds)
        if found is None:
            self._open[uuid] = question
            raise Unavailable(f"CephFS does not say in time how much is below {target}; try again")
        return found


def _below(target: Path) -> int:
    return int(os.getxattr(target, "ceph.dir.rbytes"))
