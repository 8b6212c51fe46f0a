"""Snapshots of volumes in a cluster, whatever their layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Attachment, Volume
from backends.ceph.data import CephData
from backends.claims import Claim
from backends.snapshots import Snapshot


@dataclass(frozen=True)
class CephSnapshots:
    """See `backends.mounting.snapshots`. `admit` shuts out whoever has no right to the volume."""

    data: CephData
    admit: Callable[[Volume[Any], Claim | None], None]

    def create(
        self,
        volume: Volume[Any],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        layout = self.data.layout(volume)
        layout.snapshots.create(volume, name, created, attachment, _epoch(claim))
        return next(one for one in layout.snapshots.all(volume).values() if one.name == name)

    def all(self, volume: Volume[Any]) -> Sequence[Snapshot]:
        return list(self.data.layout(volume).snapshots.all(volume).values())

    def remove(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        self.data.layout(volume).snapshots.remove(volume, name, _epoch(claim))

    def restore(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        self.admit(volume, claim)
        self.data.layout(volume).snapshots.restore(volume, name, _epoch(claim))


def _epoch(claim: Claim | None) -> int:
    return claim.epoch if claim else 0
