"""The backend `local`: a directory of this machine, or of a file system that nodes share."""

from functools import cached_property
from typing import ClassVar

from backends.ambient import new_id
from backends.base import Access, Capabilities, Context, Fencing
from backends.host import mountinfo
from backends.local.options import LocalOptions, LocalSettings, Shared
from backends.tree.backend import TreeBackend
from backends.tree.store import Store, is_network


class LocalBackend(TreeBackend[LocalSettings, LocalOptions]):
    """See the package."""

    Settings: ClassVar[type[LocalSettings]] = LocalSettings
    Options: ClassVar[type[LocalOptions]] = LocalOptions

    def __init__(self, settings: LocalSettings, context: Context) -> None:
        super().__init__(settings, context, Store(settings.root, context.state, new_id))

    @cached_property
    def capabilities(self) -> Capabilities:
        """A root that other nodes see too makes the volumes visible everywhere, and nothing keeps
        a stale node from writing to it."""
        shared = self.settings.shared is Shared.YES or (
            self.settings.shared is Shared.AUTO and is_network(self.store.below(mountinfo.read()))
        )
        fencing = Fencing.ADVISORY if shared else Fencing.NONE
        return Capabilities(everywhere=shared, access=frozenset(Access), fencing=fencing)
