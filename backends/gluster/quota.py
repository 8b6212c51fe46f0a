"""Limiting a directory by Gluster's quota, from any node.

`gluster volume quota ... limit-usage` works on storage servers only. What it does there is to mount
the volume under the identity of Gluster's own quota client and to set one extended attribute on
the directory; so do we.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.errors import HostError, NotSupported
from backends.gluster import pool
from backends.gluster.client import Client, Export
from backends.gluster.in_time import in_time
from backends.options import Size

_IDENTITY = "--client-pid=-5"
_ATTRIBUTE = "trusted.glusterfs.quota.limit-set"
_LIMIT = struct.Struct(">qq")
_DEFAULT_SOFT = -1


@dataclass(frozen=True)
class Quota:
    """Sets limits on the directories below `home`. `facts` asks the pool."""

    export: Export
    home: str
    points: Path
    facts: Callable[[], pool.Facts]
    seconds: float

    def limit(self, uuid: str, size: int) -> None:
        """Let the directory of a volume hold `size` bytes. NotSupported where quota is off."""
        if not self.facts().is_on("features.quota"):
            name = self.export.volume
            raise NotSupported(
                f"size={Size(size)} in a plain directory needs Gluster's quota, which is off on "
                f"{name}: enable it on a storage server (`gluster volume quota {name} enable`, and "
                "set its soft-timeout and hard-timeout to 0 to have it exact), or use layout=image"
            )
        client = Client(self.export, self.points / uuid, (_IDENTITY,), self.seconds)
        client.start()
        try:
            directory = client.point / self.home / uuid
            in_time(str(self.export), self.seconds, lambda: _set(directory, size))
        finally:
            client.stop()


def _set(directory: Path, size: int) -> None:
    wanted = _LIMIT.pack(size, _DEFAULT_SOFT)
    os.setxattr(directory, _ATTRIBUTE, wanted)
    if os.getxattr(directory, _ATTRIBUTE)[: len(wanted)] != wanted:
        raise HostError(f"the quota of {directory} was set but reads differently; is it disabled?")
