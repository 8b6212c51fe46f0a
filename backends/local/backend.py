"""The backend `local`: a directory of this machine, or of a file system that nodes share."""

from functools import cached_property
from typing import ClassVar

from backends.ambient import new_id
from backends.base import Access, Attachment, Capabilities, Context, Fencing
from backends.errors import HostError
from backends.host import mountinfo, processes
from backends.host.waiting import wait_until
from backends.local.options import LocalOptions, LocalSettings, Shared
from backends.mounting.detaching import holding
from backends.tree.backend import TreeBackend
from backends.tree.store import Store, is_network

CUT_OFF_SECONDS = 2.0


class LocalBackend(TreeBackend[LocalSettings, LocalOptions]):
    """See the package. Also SelfFencing."""

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

    def cut_off(self, attachment: Attachment) -> None:
        """Kill the processes that have the volume mounted: nothing else stops a writer on a shared
        directory. What the kernel still holds of their writes for a network file system may reach
        it later; hence `advisory`. HostError when one does not die within CUT_OFF_SECONDS."""
        if not wait_until(lambda: self._killed(attachment), CUT_OFF_SECONDS):
            raise HostError(
                f"processes that have volume {attachment.name} mounted cannot be killed; "
                "power this node off"
            )

    def _killed(self, attachment: Attachment) -> bool:
        """Whether nobody is left; whoever is gets SIGKILL."""
        users = holding([attachment]).get(attachment.name, [])
        processes.kill([user.pid for user in users])
        return not users
