"""What a person may say about a `gluster` profile and its volumes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from backends.base import ProfileSettings
from backends.options import option
from backends.tree.options import TreeOptions

_HOST = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}")
_VOLUME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,127}")
_PART = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_VALUE = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

MOUNT_OPTIONS = frozenset(
    {"acl", "attribute-timeout", "auto-invalidation", "background-qlen", "congestion-threshold"}
    | {"direct-io-mode", "entry-timeout", "event-history", "fopen-keep-cache", "gid-timeout"}
    | {"invalidate-limit", "log-level", "lru-limit", "negative-timeout", "oom-score-adj"}
    | {"reader-thread-count", "resolve-gids", "selinux", "use-readdirp"}
    | {"volfile-server-port", "volfile-server-transport"}
)
"""Those of glusterfs(8) that a person may set for the clients of volumes."""


class Servers(tuple[str, ...]):
    """Names or addresses of storage servers, written with commas between them."""

    def __new__(cls, text: str) -> "Servers":
        """Raise ValueError when one is not a host name or an IPv4 address."""
        found = [part.strip() for part in text.split(",")]
        for part in found:
            if not _HOST.fullmatch(part):
                raise ValueError(f"contains {part!r}, which is not a host name or address")
        return super().__new__(cls, dict.fromkeys(found))

    def __str__(self) -> str:
        return ",".join(self)


class MountOptions(tuple[str, ...]):
    """Options of glusterfs(8), written like `attribute-timeout=5,acl`."""

    def __new__(cls, text: str) -> "MountOptions":
        """Raise ValueError for one that is not in MOUNT_OPTIONS."""
        found = [part.strip() for part in text.split(",") if part.strip()]
        for part in found:
            key, equals, value = part.partition("=")
            if key not in MOUNT_OPTIONS:
                raise ValueError(f"has {key!r}; allowed: {', '.join(sorted(MOUNT_OPTIONS))}")
            if equals and not _VALUE.fullmatch(value):
                raise ValueError(f"has a value that is not allowed in {part!r}")
        return super().__new__(cls, found)

    def __str__(self) -> str:
        return ",".join(self)


@dataclass(frozen=True)
class GlusterSettings(ProfileSettings):
    """Settings of a profile with `backend = "gluster"`."""

    servers: Servers = option(
        help="storage servers of the pool, with commas between them; any of them may be down"
    )
    volume: str = option(help="the Gluster volume")
    subdirectory: str = option(
        "kedge", help="the directory of the Gluster volume that holds everything; made if missing"
    )
    mount_options: MountOptions = option(
        MountOptions(""), help="options of glusterfs(8) for the clients of volumes"
    )
    for_databases: bool = option(
        False,
        help="clients of volumes behave as databases need it, whatever the Gluster volume is set "
        "to (docs/gluster.md)",
    )
    patience: float = option(
        10.0, help="how long the pool may take to answer before a call gives up"
    )

    def problems(self) -> Iterable[str]:
        """Rules for single values that their types do not know."""
        if not _VOLUME.fullmatch(self.volume):
            yield f"volume={self.volume!r} is not a name of a Gluster volume"
        parts = PurePosixPath(self.subdirectory).parts
        if not parts or not all(_PART.fullmatch(part) for part in parts):
            yield (
                f"subdirectory={self.subdirectory!r} is not a relative path of letters, digits, "
                "'_', '.' and '-'"
            )
        if not 1 <= self.patience <= 25:
            yield "patience must lie between 1 and 25 seconds: Docker gives up after 30"


@dataclass(frozen=True)
class GlusterOptions(TreeOptions):
    """Options of a volume of `gluster`."""

    def directory_problems(self) -> Iterable[str]:
        """A size is possible where the pool has quota; only the pool can tell."""
        return ()
