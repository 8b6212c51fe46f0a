"""At start: make ledger, kernel and backends agree before anything is answered.

The ledger knows what was promised, the kernel what is mounted and by whom, the backend what
exists. None of them alone is believed:

    ledger says        kernel shows             then
    creating           -                        forgotten: the next create finishes it
    removing           -                        finished if the storage had begun, else undone
    attaching          our mount                attached
    attached           our mount                kept, with its holders
    detaching          our mount, no occupants  detached
    any of the three   no mount, occupants      mounted again: containers outlived the service
    any of the three   no mount, no occupants   at rest; its holders died with their engine
    nothing            our mount                adopted without holders; the keeper lets it go
"""

import logging
from collections.abc import Iterable
from typing import Any

from backends.base import Attachment
from driver.ledger import Promise
from driver.lifecycle import Entry, Event, State
from driver.volumes import LET_GO, Volumes, describe

log = logging.getLogger(__name__)

LOCK_SECONDS = 5.0


def recover(volumes: Volumes, profile: str) -> None:
    """Reconcile everything of one profile. May be repeated. Raises what the backend raises;
    then the rest of the profile is as it was and the keeper calls again."""
    backend = volumes.backends[profile]
    shown = {attachment.name: attachment for attachment in backend.attachments()}
    for promise in _promises(volumes, profile):
        with volumes.locks.hold(promise.name, "recovering", LOCK_SECONDS):
            current = volumes.ledger.get(promise.name)
            if current is not None:
                _reconcile(volumes, current, shown.get(promise.name))
    for attachment in shown.values():
        with volumes.locks.hold(attachment.name, "recovering", LOCK_SECONDS):
            if volumes.ledger.get(attachment.name) is None:
                _adopt(volumes, profile, attachment)


def _promises(volumes: Volumes, profile: str) -> Iterable[Promise]:
    return [p for p in volumes.ledger.promises().values() if p.profile == profile]


def _reconcile(volumes: Volumes, promise: Promise, shown: Attachment | None) -> None:
    state = promise.entry.state
    if state is State.CREATING:
        volumes.record(promise, Event.FAILED)
    elif state is State.REMOVING:
        volumes.settle_removal(promise, finish=True)
    elif state in LET_GO:
        if shown and shown.uuid == promise.uuid and shown.healthy:
            _mounted(volumes, promise, shown)
        else:
            _not_mounted(volumes, promise)


def _mounted(volumes: Volumes, promise: Promise, shown: Attachment) -> None:
    if promise.entry.state is State.DETACHING and not volumes.occupants(promise):
        volumes.release(promise)
        return
    if promise.entry.state is not State.ATTACHED:
        promise = volumes.record(promise, Event.ATTACH)
        volumes.record(promise, Event.ATTACHED, device=shown.device, root=shown.root)


def _not_mounted(volumes: Volumes, promise: Promise) -> None:
    users = volumes.occupants(promise)
    if users and promise.entry.state is not State.DETACHING:
        log.warning("volume %s is mounted again for %s", promise.name, describe(users))
        volumes.attach(volumes.backends[promise.profile].get(promise.name), promise)
        return
    volumes.release(volumes.write(promise.holding(promise.entry.abandon())))


def _adopt(volumes: Volumes, profile: str, attachment: Attachment) -> None:
    log.warning("volume %s is mounted but not in the ledger; adopted", attachment.name)
    adopted: dict[str, Any] = {"device": attachment.device, "root": attachment.root}
    volumes.write(
        Promise(attachment.name, profile, attachment.uuid, Entry(State.ATTACHED), **adopted)
    )
