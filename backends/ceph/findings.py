"""What `kedge doctor` says about a profile of `ceph`."""

import enum
from collections.abc import Callable, Iterator, Sequence

from backends.base import Finding, Level
from backends.catalog import Catalog
from backends.ceph.clients import present
from backends.ceph.cluster import Cluster
from backends.ceph.fencing import Fence
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.errors import HostError, KedgeError
from backends.mounting.mounted import Mounted

_FULL = 0.85
_FULL_CHECKS = {"OSD_FULL", "POOL_FULL"}
_NOBODY = "192.0.2.1:0/1"
"""An address for documentation; no client has it."""
_LEVELS = {"HEALTH_OK": Level.OK, "HEALTH_WARN": Level.WARNING}


def of(cluster: Cluster, catalog: Catalog[CephOptions], mounted: Mounted) -> Sequence[Finding]:
    """Every finding; the first is whether the cluster can be reached at all."""
    settings = cluster.settings
    subject = f"cluster of {settings.monitors or settings.conf}"
    try:
        return [
            Finding(Level.OK, subject, f"reached as client.{settings.client}"),
            *_health(cluster, subject),
            *_carriers(settings),
            *_pool(cluster),
            *_filesystem(cluster),
            *_fence(cluster),
            *_damaged(catalog),
            *_dead(mounted),
        ]
    except KedgeError as error:
        return [Finding(Level.ERROR, subject, str(error))]


def _health(cluster: Cluster, subject: str) -> Iterator[Finding]:
    answer = cluster.mon("health")
    found = ", ".join(check["summary"]["message"] for check in answer["checks"].values())
    if full := _FULL_CHECKS & set(answer["checks"]):
        detail = f"full ({', '.join(sorted(full))}): writers wait or fail until there is room"
        advice = "add storage, raise the quota or delete something; nothing has to be restarted"
        yield Finding(Level.ERROR, subject, detail, advice)
    level = _LEVELS.get(answer["status"], Level.ERROR)
    advice = "" if level is Level.OK else "`ceph health detail` says more"
    yield Finding(level, subject, f"{answer['status']}{': ' if found else ''}{found}", advice)


def _carriers(settings: CephSettings) -> Iterator[Finding]:
    """What carries the data on this node, of the layouts that the profile can have."""
    here = present()
    layouts: list[tuple[Layout, Callable[[CephSettings], enum.Enum]]]
    layouts = [(Layout.DISK, here.disk)]
    layouts += [(Layout.FILESYSTEM, here.filesystem)] if settings.fs is not None else []
    for layout, choice in layouts:
        subject = f"client for layout={layout.value}"
        try:
            yield Finding(Level.OK, subject, str(choice(settings).value))
        except HostError as error:
            yield Finding(Level.ERROR, subject, str(error))


def _pool(cluster: Cluster) -> Iterator[Finding]:
    name = cluster.settings.pool
    with cluster.pool():
        pass
    found = next((pool for pool in cluster.mon("df")["pools"] if pool["name"] == name), None)
    used = float(found["stats"]["percent_used"]) if found else 0.0
    if used > _FULL:
        detail = f"{used:.0%} full; writers stop when it is full"
        yield Finding(Level.WARNING, f"pool {name}", detail, "add storage or delete something")
    else:
        yield Finding(Level.OK, f"pool {name}", f"usable, {used:.0%} full")


def _filesystem(cluster: Cluster) -> Iterator[Finding]:
    name = cluster.settings.fs
    if name is None:
        return
    try:
        cluster.mgr("fs subvolumegroup ls", vol_name=name)
        yield Finding(Level.OK, f"CephFS {name}", "usable")
    except KedgeError as error:
        advice = "the client needs `mgr 'allow module volumes rw'`, and the CephFS an active MDS"
        yield Finding(Level.ERROR, f"CephFS {name}", str(error), advice)


def _fence(cluster: Cluster) -> Iterator[Finding]:
    """Tried on an address that nobody has: a capability that is missing is found when all is well,
    and not when a node has died."""
    try:
        Fence(cluster).blocklist([_NOBODY], seconds=1.0)
        yield Finding(Level.OK, "fence", "this client may shut others out")
    except KedgeError as error:
        advice = (
            "no volume can be taken over from a dead node; the client needs `mon 'profile rbd'`"
        )
        yield Finding(Level.ERROR, "fence", str(error), advice)


def _damaged(catalog: Catalog[CephOptions]) -> Iterator[Finding]:
    for error in catalog.damaged():
        advice = "upgrade kedge on this node, or restore the record from a backup"
        yield Finding(Level.ERROR, "record", str(error), advice)


def _dead(mounted: Mounted) -> Iterator[Finding]:
    for attachment in mounted.all():
        if not attachment.healthy:
            detail = "mounted, but its client is dead or shut out of the cluster"
            advice = "stop its containers and start them again"
            yield Finding(Level.ERROR, f"volume {attachment.name}", detail, advice)
