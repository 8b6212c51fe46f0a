"""The seam (`base`) and the storage that stands behind it. Never imports `driver`.

Backends are found by name: ours in REGISTRY, others by an entry point in the group
`kedge.backends`. A backend's module is imported only when a profile uses it, so a node needs only
the client libraries of the storage it has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from backends.errors import Invalid

if TYPE_CHECKING:  # a data path's server, which must start quickly, needs neither
    import importlib.metadata

    from backends.base import Backend

REGISTRY: dict[str, tuple[str, str]] = {
    "ceph": (
        "backends.ceph:CephBackend",
        "install python3-rados, python3-rbd, ceph-common, ceph-fuse and rbd-fuse",
    ),
    "gluster": (
        "backends.gluster:GlusterBackend",
        "install the packages glusterfs-client and glusterfs-cli",
    ),
    "local": ("backends.local:LocalBackend", ""),
    "memory": ("backends.memory:MemoryBackend", ""),
    "s3": ("backends.s3:S3Backend", "install kedge with its extra `s3` (boto3)"),
}
"""name -> (module:Class, what to install when its import fails)"""

HIDDEN = frozenset({"memory"})
"""For tests only: left out of help and of the list of valid names."""


def known() -> list[str]:
    """The names a profile may give as its backend."""
    return sorted((set(REGISTRY) - HIDDEN) | {point.name for point in _entry_points()})


def load(name: str) -> type[Backend[Any, Any]]:
    """The class of a backend. Invalid when the name is unknown or its libraries are missing."""
    place, install = REGISTRY.get(name, ("", ""))
    if not place:
        place = next((point.value for point in _entry_points() if point.name == name), "")
    if not place:
        raise Invalid(f"backend {name!r} is unknown; valid: {', '.join(known())}")
    module, _, cls = place.partition(":")
    try:
        found: type[Backend[Any, Any]] = getattr(importlib.import_module(module), cls)
    except ImportError as error:
        hint = install or "install what it needs"
        raise Invalid(f"backend {name!r} cannot be loaded ({error}); {hint}") from error
    return found


def _entry_points() -> importlib.metadata.EntryPoints:
    import importlib.metadata

    return importlib.metadata.entry_points(group="kedge.backends")
