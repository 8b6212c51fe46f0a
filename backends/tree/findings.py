"""What `kedge doctor` says about a profile of `local`."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from backends.base import Finding, Level
from backends.catalog import Catalog
from backends.errors import KedgeError
from backends.host import loop, mountinfo
from backends.host.failures import explained
from backends.mounting.mounted import Mounted
from backends.tree.image import ROOT
from backends.tree.reaper import PREFIX, Reaper
from backends.tree.store import Store

_LOW = 0.05


def of(store: Store, reaper: Reaper, catalog: Catalog[Any], mounted: Mounted) -> Sequence[Finding]:
    """Every finding; the first is whether the root can be used at all."""
    subject = f"root {store.root}"
    try:
        store.check()
        with explained(f"look at {store.root}"):
            below = store.below(mountinfo.read())
            return [
                Finding(Level.OK, subject, f"usable, on {below.type} {below.source}"),
                *_space(store),
                *_sizes(store, catalog),
                *_damaged(catalog),
                *_leftovers(store, catalog, reaper),
                *_devices(mounted),
            ]
    except KedgeError as error:
        return [Finding(Level.ERROR, subject, str(error))]


def _space(store: Store) -> Iterator[Finding]:
    facts = os.statvfs(store.root)
    free = facts.f_bavail / max(facts.f_blocks, 1)
    if facts.f_flag & os.ST_RDONLY:
        advice = "remount it writable, or find out in `dmesg` why it stopped"
        yield Finding(Level.ERROR, f"root {store.root}", "the file system is read-only", advice)
    elif free < _LOW:
        detail = f"only {free:.0%} free; images that are not full yet cannot grow"
        yield Finding(Level.WARNING, f"root {store.root}", detail, "free some space")


def _sizes(store: Store, catalog: Catalog[Any]) -> Iterator[Finding]:
    facts = os.statvfs(store.root)
    total = facts.f_blocks * facts.f_frsize
    promised = sum(volume.options.size or 0 for volume in catalog.volumes())
    if promised > total:
        detail = f"images promise {promised} bytes, the file system has {total}"
        advice = "images take room as they fill: watch the free space"
        yield Finding(Level.WARNING, f"root {store.root}", detail, advice)


def _damaged(catalog: Catalog[Any]) -> Iterator[Finding]:
    for error in catalog.damaged():
        advice = "upgrade kedge on this node, or restore the record from a backup"
        yield Finding(Level.ERROR, "record", str(error), advice)


def _leftovers(store: Store, catalog: Catalog[Any], reaper: Reaper) -> Iterator[Finding]:
    if reaper.problem:
        yield Finding(Level.WARNING, "removed data", reaper.problem, "delete them by hand")
    names = {name for name in os.listdir(store.volumes) if not name.startswith(PREFIX)}
    known = catalog.uuids()
    places = [store.data(name) for name in sorted(names - known)]
    if store.snapshots.is_dir():
        places += [
            store.snapshots / name for name in sorted({*os.listdir(store.snapshots)} - known)
        ]
    for place in places:
        advice = "if nobody needs them, delete them by hand"
        yield Finding(Level.WARNING, str(place), "data that no record names", advice)


def _devices(mounted: Mounted) -> Iterator[Finding]:
    for attachment in mounted.all():
        if not attachment.healthy:
            detail = "mounted, but its file system has stopped"
            advice = "stop its containers and start them again; look at `dmesg`"
            yield Finding(Level.ERROR, f"volume {attachment.name}", detail, advice)
        number = loop.number_of(attachment.device)
        if number is None or attachment.root != ROOT:
            continue
        device = loop.status(number)
        if device is not None and not device.direct:
            detail = f"/dev/loop{number} goes through the page cache; reads and writes cost more"
            yield Finding(Level.WARNING, f"volume {attachment.name}", detail)
