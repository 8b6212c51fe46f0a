"""What people are told about a volume: the same facts for `docker volume inspect` and `kedge`.

Docker shows the options it was given, even when the volume existed already and they were never
applied. So the effective options are part of the status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.base import Access, Backend, Usage
from backends.options import Size, to_strings
from driver.inventory import Known
from driver.ledger import Promise
from driver.lifecycle import State
from driver.ownership import Ownership


@dataclass(frozen=True)
class View:
    """A volume as it is shown. `mountpoint` is empty unless it is mounted on this node."""

    name: str
    created: str
    mountpoint: str
    status: Mapping[str, str]


def view(
    known: Known,
    backend: Backend[Any, Any],
    owner: Ownership,
    promise: Promise | None,
    usage: Usage | None,
    snapshot: str | None,
    *,
    node: str,
    mountpoint: str,
) -> View:
    """Put together from memory; nothing here may block."""
    volume = known.volume
    state = promise.entry.state if promise else State.DETACHED
    status = {
        "backend": known.profile,
        **to_strings(volume.options),
        "uuid": volume.uuid,
        "state": state.value,
        "node": node,
        "fencing": fencing(backend, volume.options.access),
    }
    if promise:
        status["holders"] = str(sum(promise.entry.holders.values()))
    if promise and usage and usage.used is not None:
        status["used"] = str(Size(usage.used))
    if snapshot:
        status["last_snapshot"] = snapshot
    if owner.needed(volume):
        held = promise.claim if promise and state is not State.FENCED else None
        status.update(owner.shown(volume, held))
    status.update(backend.status(volume))
    shown = mountpoint if state is State.ATTACHED else ""
    return View(volume.name, volume.created, shown, status)


def fencing(backend: Backend[Any, Any], access: Access) -> str:
    """What keeps a second node from writing, in words that promise no more than is kept."""
    if access is Access.SHARED:
        return "none (access=shared: several nodes may write)"
    if not backend.capabilities.everywhere:
        return "none needed (the volume exists on this node only)"
    return backend.capabilities.fencing.value
