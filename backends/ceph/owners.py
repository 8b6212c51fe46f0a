"""Whose a mount is, among the volumes of one profile."""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.ceph.layout import Layout
from backends.host.mountinfo import Mount
from backends.mounting.mounted import Judge, Owner


@dataclass(frozen=True)
class CephOwners:
    """See `backends.mounting.mounted.Owners`."""

    layouts: Sequence[Layout]

    def judge(self, table: Sequence[Mount]) -> Judge:
        return self._owner

    def fresh(self, mount: Mount) -> bool:
        return next(one.fresh for one in self.layouts if one.owner(mount) is not None)

    def _owner(self, mount: Mount) -> Owner | None:
        found = (layout.owner(mount) for layout in self.layouts)
        return next((owner for owner in found if owner is not None), None)
