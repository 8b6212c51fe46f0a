"""Whose a mount is, among the volumes of one root."""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.host import mountinfo
from backends.mounting.mounted import Judge
from backends.tree.image import ImageLayout
from backends.tree.source import Source


@dataclass(frozen=True)
class TreeOwners:
    """See `backends.mounting.mounted.Owners`."""

    source: Source
    image: ImageLayout

    def judge(self, table: Sequence[mountinfo.Mount]) -> Judge:
        plain = self.source.judge(table)
        return lambda mount: plain(mount) or self.image.owner(mount)

    def fresh(self, mount: mountinfo.Mount) -> bool:
        return self.source.fresh
