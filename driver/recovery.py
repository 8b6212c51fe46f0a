"""At start: make ledger, kernel and backends agree before anything is answered.

The ledger knows what was promised, the kernel what is mounted and by whom, the backend what
exists. None of them alone is believed:

    ledger says        kernel shows             then
    creating           -                        forgotten: the next create finishes it
    removing           -                        finished if the storage had begun, else undone
    attaching          our mount                attached
    attached           our mount                kept, with its holders
    detaching          our mount                detached, unless processes have it
    any of the three   no mount, occupants      mounted again: containers outlived the service
    any of the three   no mount, no occupants   at rest; its holders died with their engine
    nothing            our mount                adopted without holders; the keeper lets it go

A volume that cannot be brought to agreement now does not hold up the others: its row stays, and
the keeper tends it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from backends.base import Attachment
from backends.errors import Busy, InUse, KedgeError, NotFound
from driver.attachments import LET_GO, describe, shows
from driver.complaints import Complaints
from driver.ledger import Promise
from driver.lifecycle import Entry, Event, State
from driver.volumes import Volumes

log = logging.getLogger(__name__)

MENDED = frozenset({State.ATTACHING, State.ATTACHED})
"""States in which a lost mount is made again."""

LOCK_SECONDS = 0.1
"""A volume that is busy is in good hands."""


class Recovery:
    """Of one profile. `seconds`: how long one volume may hold up the next."""

    def __init__(
        self, volumes: Volumes, profile: str, complaints: Complaints, seconds: float
    ) -> None:
        self._volumes = volumes
        self._profile = profile
        self._complaints = complaints
        self._seconds = seconds

    def run(self) -> None:
        """Reconcile everything of the profile. May be repeated. Raises what the backend raises
        when it is asked for all its attachments."""
        rows = self.rows()  # before the kernel: a row that changes after it is newer than both
        shown = self.shown()
        for promise in rows:
            self.reconcile(promise, shown.get(promise.name))
        self.adopt(shown)

    def rows(self) -> Sequence[Promise]:
        """The profile's rows in the ledger."""
        rows = self._volumes.ledger.promises().values()
        return [promise for promise in rows if promise.profile == self._profile]

    def shown(self) -> Mapping[str, Attachment]:
        """What the kernel shows; of several mounts on one another, the last."""
        attachments = self._volumes.backends[self._profile].attachments()
        return {attachment.name: attachment for attachment in attachments}

    def reconcile(self, promise: Promise, shown: Attachment | None) -> None:
        """One row of the table above."""
        self.tend(promise, "recovering", lambda: self._reconcile(promise, shown))

    def adopt(self, shown: Mapping[str, Attachment]) -> None:
        """Give a row to every mount that has none."""
        for attachment in shown.values():
            if self._volumes.ledger.get(attachment.name) is None:
                row = Promise(
                    attachment.name,
                    self._profile,
                    attachment.uuid,
                    Entry(State.ATTACHED),
                    attachment.device,
                    attachment.root,
                )
                self._bounded(row.name, "adopting", partial(self._adopt, row))

    def tend(self, promise: Promise, doing: str, act: Callable[[], None]) -> None:
        """`act` with the volume's lock held, unless its row has changed since it was looked at:
        then somebody else is at work on it. Failures are complained of, not raised."""

        def unless_changed() -> None:
            if self._volumes.ledger.get(promise.name) == promise:
                act()

        self._bounded(promise.name, doing, unless_changed)

    def _bounded(self, name: str, doing: str, act: Callable[[], None]) -> None:
        def locked(_: Any) -> None:
            with self._volumes.locks.hold(name, doing, LOCK_SECONDS):
                act()

        subject = f"volume {name}"
        try:
            self._volumes.bounded(f"{doing} {subject}", locked, seconds=self._seconds)
        except (Busy, InUse):  # in good hands; it is looked at again
            return
        except KedgeError as error:
            self._complaints.trouble(subject, error)
            return
        except Exception:
            log.exception("%s: stumbled over a fault in kedge while %s it", subject, doing)
            return
        self._complaints.well(subject)

    def _reconcile(self, promise: Promise, shown: Attachment | None) -> None:
        state, attachments = promise.entry.state, self._volumes.attachments
        if state is State.CREATING:
            attachments.record(promise, Event.FAILED)
        elif state is State.REMOVING:
            self._volumes.settle_removal(promise, finish=True)
        elif state not in LET_GO:
            return
        elif not shows(promise, shown):
            self._not_mounted(promise)
        elif state is State.DETACHING:
            attachments.release(promise)
        elif state is State.ATTACHING and shown:
            promise = attachments.record(promise, Event.ATTACH)
            attachments.record(promise, Event.ATTACHED, device=shown.device, root=shown.root)

    def _not_mounted(self, promise: Promise) -> None:
        users = self._volumes.attachments.occupants(promise)
        if not users:
            self._volumes.attachments.let_go(promise.name)
        elif promise.entry.state in MENDED:
            log.warning("volume %s is mounted again for %s", promise.name, describe(users))
            self.mount_again(promise)

    def mount_again(self, promise: Promise) -> None:
        """Attach a volume whose mount was lost. Call with its lock held."""
        volume = self._volumes.backends[self._profile].get(promise.name)
        if volume.uuid != promise.uuid:
            raise NotFound("it was removed and made anew elsewhere while mounted here")
        self._volumes.attachments.attach(volume, promise)

    def _adopt(self, row: Promise) -> None:
        attachments = self._volumes.attachments
        top = attachments.top(row)
        if self._volumes.ledger.get(row.name) is None and top and top.uuid == row.uuid:
            log.warning("volume %s is mounted but not in the ledger; adopted", row.name)
            self._volumes.ledger.note(row.name, lambda _: row)
