"""Snapshots as a mounting backend has them made; see `backends.snapshots.Snapshots`."""

from collections.abc import Sequence
from typing import Any, Protocol

from backends.base import Attachment, Volume
from backends.claims import Claim
from backends.snapshots import Snapshot


class VolumeSnapshots(Protocol):
    """The four verbs, called while the storage is the right one. An OSError is explained by the
    caller."""

    def create(
        self,
        volume: Volume[Any],
        name: str,
        *,
        created: str,
        attachment: Attachment | None,
        claim: Claim | None,
    ) -> Snapshot:
        """As `snapshot_create` says."""

    def all(self, volume: Volume[Any]) -> Sequence[Snapshot]:
        """As `snapshot_list` says."""

    def remove(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_remove` says."""

    def restore(self, volume: Volume[Any], name: str, *, claim: Claim | None) -> None:
        """As `snapshot_restore` says."""
