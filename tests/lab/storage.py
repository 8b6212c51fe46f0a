"""What the volumes of a Swarm live on, as far as the lab has to know it.

A cluster or an object store subclasses `Storage`. The Swarm calls, in this order: `start` with an
address of this machine that every member reaches over its own network (so a member whose cable is
pulled does not reach the storage either), then for each member `equip` and `settings` before its
plugin is enabled, `equip` again whenever the member boots, and `close` at the end.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.node import ManagedNode


class Storage(ABC):
    """`options`: of every volume the lab makes, as `size=1G`. `plugin_backends`: what is built
    into the plugin, as `make plugin BACKENDS=...` takes it."""

    options: tuple[str, ...] = ()
    plugin_backends: str = ""
    by_network: bool = True
    """A member that is cut from the network is cut from the storage, too."""
    fencing: str = "store"
    """As Status shows it. Members are frozen and woken by the database test only where the
    storage itself refuses what a stale node writes."""
    rpo: float = 0.0
    """Rows confirmed so many seconds before a node was lost, or later by that node, may be
    missing, the last ones first: what `durability=local` promises. 0: no row ever."""

    @abstractmethod
    def start(self, address: str) -> None:
        """Be reachable at `address`, or by other means, when this returns."""

    @abstractmethod
    def settings(self, member: str) -> str:
        """The profile that is this member's default, and whatever else belongs into its
        kedge.toml below the first line, which names the node. Paths are the plugin's: /host is
        the directory that holds `node.data`."""

    def equip(self, node: ManagedNode) -> None:
        """Put what the member needs (keyrings, credentials, mounts) where `settings` says; the
        member's engine is not running yet."""
        return

    @abstractmethod
    def close(self) -> None:
        """End everything and leave no trace. Repeating it is no error."""


class SharedDirectory(Storage):
    """One directory that every member has, network or not, as on a file server nobody can cut:
    nothing refuses a stale writer, and Status says so."""

    by_network = False
    fencing = "advisory"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volumes = root / "volumes"

    def start(self, address: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def settings(self, member: str) -> str:
        return (
            '[profiles.shared]\nbackend = "local"\nroot = "/host/shared/volumes"\nshared = "yes"\n'
        )

    def equip(self, node: ManagedNode) -> None:
        place = node.data.parent / "shared"
        place.mkdir(exist_ok=True)
        node.engine.box.run(["mount", "--bind", str(self.root), str(place)])

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
