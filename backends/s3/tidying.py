"""What a node keeps of disks that another node has deleted: log, cache, orphans."""

import os
from collections.abc import Collection
from contextlib import suppress

from backends.disk.core.head import State
from backends.errors import Busy, InUse, KedgeError, NotFound, Unavailable
from backends.s3.disks import Disks

EVERY = 360
"""Rounds after which a disk that was not deleted is looked at again: it may be in the trash."""


class Tidying:
    """Remembers which disks were not deleted when it looked."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks
        self._rounds = 0
        self._kept: dict[str, int] = {}

    def round(self, known: Collection[str]) -> None:
        """Look at what is here and does not belong to the volumes `known`. A disk of which the
        bucket says nothing is kept: it may be another bucket. One that cannot be tidied up now
        holds up no other; what the last of them said is raised at the end."""
        self._rounds += 1
        trouble: KedgeError | None = None
        for uuid in sorted(self._here().difference(known)):
            if self._rounds - self._kept.get(uuid, -EVERY) < EVERY:
                continue
            try:
                self._look_at(uuid)
            except (Busy, InUse):
                continue
            except Unavailable:
                raise
            except KedgeError as error:
                self._kept[uuid], trouble = self._rounds, error
        if trouble is not None:
            raise trouble

    def _look_at(self, uuid: str) -> None:
        with suppress(NotFound):
            if self._disks.heads.read(uuid).state is State.DELETED and self._disks.drop(uuid):
                self._kept.pop(uuid, None)
                return
        self._kept[uuid] = self._rounds

    def _here(self) -> set[str]:
        found: set[str] = set()
        for place in ("disks", "paths", "locks"):
            with suppress(FileNotFoundError):
                found.update(os.listdir(self._disks.context.state / place))
        return found
