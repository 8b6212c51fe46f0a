"""What a person may say about a `local` profile and its volumes."""

import enum
from dataclasses import dataclass
from pathlib import Path

from backends.base import ProfileSettings
from backends.options import option
from backends.tree.options import Layout, TreeOptions

__all__ = ["Layout", "LocalOptions", "LocalSettings", "Shared"]


class Shared(enum.Enum):
    """Whether other nodes see the same root."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class LocalSettings(ProfileSettings):
    """Settings of a profile with `backend = "local"`."""

    root: Path = option(help="the directory that holds the volumes; empty or absent at first")
    shared: Shared = option(
        Shared.AUTO,
        help="whether other nodes have the same root; auto: yes on a network file system",
    )


@dataclass(frozen=True)
class LocalOptions(TreeOptions):
    """Options of a volume of `local`."""
