"""Shutting clients out of a volume, in the cluster: what they still hold back is never written.

A blocklisted address is refused by every OSD and MDS from the map on that the monitor answers
with. The cluster's own entries last an hour, so a client that was frozen for longer would get in
again: ours last a year. An address includes a random number of the client's process, so nobody
else is ever met by an old entry.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from backends.ceph.cluster import Cluster
from backends.ceph.failures import Absent

SECONDS = 365 * 86400.0


@dataclass(frozen=True)
class Fence:
    """Acts on one cluster. Repeating anything does no harm."""

    cluster: Cluster

    def blocklist(self, addresses: Iterable[str], *, seconds: float = SECONDS) -> None:
        """Refuse these clients everything from now on, for so long."""
        for address in sorted(set(addresses)):
            if address:
                self.cluster.mon("osd blocklist", blocklistop="add", addr=address, expire=seconds)

    def evict(self, user: str, **subvolume: str) -> None:
        """End the sessions that `user` has on a subvolume, wait until the cluster has taken back
        what they held, and take away the user's right to come back."""
        with contextlib.suppress(Absent):
            self.cluster.mgr("fs subvolume evict", auth_id=user, **subvolume)
        self.forget(user, **subvolume)

    def forget(self, user: str, **subvolume: str) -> None:
        """Take away a user's right to a subvolume; he has left by himself."""
        with contextlib.suppress(Absent):
            self.cluster.mgr("fs subvolume deauthorize", auth_id=user, **subvolume)
