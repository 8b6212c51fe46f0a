"""How a snapshot is named in the cluster: `2026-02-03T04:05:06Z_before-upgrade`. Pure.

When it was taken is part of the name, so that nothing else has to be written down with it, and
whatever lists snapshots shows them in order. A snapshot with any other name was made by somebody
else: it is never listed, never removed, and keeps the volume's data from being deleted.
"""

import re
from collections.abc import Iterable, Mapping

from backends.base import Volume
from backends.ceph.options import CephOptions
from backends.errors import Exists, NotFound
from backends.snapshots import Snapshot

_OURS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)_(.+)")


def written(name: str, created: str) -> str:
    """The name in the cluster."""
    return f"{created}_{name}"


def read(sizes: Mapping[str, int | None]) -> dict[str, Snapshot]:
    """Our snapshots by their names in the cluster, oldest first. `sizes`: of each, by that."""
    found = {}
    for cluster_name, size in sizes.items():
        if match := _OURS.fullmatch(cluster_name):
            found[cluster_name] = Snapshot(match[2], match[1], size)
    return dict(sorted(found.items(), key=lambda item: (item[1].created, item[1].name)))


def found(volume: Volume[CephOptions], name: str, there: Iterable[str]) -> str:
    """The name in the cluster of the volume's snapshot `name`. NotFound."""
    for cluster_name in there:
        match = _OURS.fullmatch(cluster_name)
        if match and match[2] == name:
            return cluster_name
    raise NotFound(f"volume {volume.name} has no snapshot {name!r}")


def refuse_taken(volume: Volume[CephOptions], name: str, there: Iterable[str]) -> None:
    """Raise Exists when the volume has a snapshot of this name."""
    for cluster_name in there:
        match = _OURS.fullmatch(cluster_name)
        if match and match[2] == name:
            raise Exists(f"volume {volume.name} has a snapshot {name!r}; choose another name")
