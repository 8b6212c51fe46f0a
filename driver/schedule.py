"""Snapshots that are taken by themselves, by the node that has the volume attached.

Only what is attached changes, and only its node can copy it while it does. So a volume that nobody
has mounted gets no new snapshots, and keeps those it has.
"""

import logging
from typing import Any

from backends.base import Volume
from backends.errors import Exists, KedgeError
from backends.snapshots import Schedule, Snapshots
from driver.complaints import Complaints
from driver.lifecycle import State
from driver.volumes import Volumes

log = logging.getLogger(__name__)


class Scheduler:
    """Takes what is due, removes what is not kept any longer. A volume whose storage refuses holds
    up no other."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._complaints = Complaints(log)

    def round(self) -> None:
        """One round over all volumes that are attached here; first, what clones left is tidied."""
        if not self._volumes.ready.is_set():
            return
        subject = "tidying up after clones"
        try:
            self._volumes.cloning.tidy()
            self._complaints.well(subject)
        except KedgeError as error:
            self._complaints.trouble(subject, error)
        for name, promise in self._volumes.ledger.promises().items():
            known = self._volumes.inventory.find(name)
            if promise.entry.state is not State.ATTACHED or known is None:
                continue
            schedule = getattr(known.volume.options, "snapshots", None)
            backend = self._volumes.backends[known.profile]
            if schedule is not None and isinstance(backend, Snapshots):
                self._attend(known.volume, backend, schedule)

    def _attend(self, volume: Volume[Any], backend: Snapshots, schedule: Schedule) -> None:
        subject = f"scheduled snapshots of volume {volume.name}"
        try:
            self._take_due(volume, backend, schedule)
            for name in schedule.expired(self._volumes.snapshots.look(volume, backend)):
                self._volumes.snapshots.remove(volume.name, name)
            self._complaints.well(subject)
        except KedgeError as error:
            self._complaints.trouble(subject, error)

    def _take_due(self, volume: Volume[Any], backend: Snapshots, schedule: Schedule) -> None:
        for name in schedule.due(
            self._volumes.snapshots.look(volume, backend), self._volumes.moment()
        ):
            try:
                self._volumes.snapshots.take(volume.name, name)
            except Exists:
                continue  # an earlier owner of this period's was faster
            log.info("snapshot %s of volume %s is taken", name, volume.name)
