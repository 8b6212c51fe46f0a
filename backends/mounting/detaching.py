"""Undoing an attachment, and knowing when it is really undone."""

from collections.abc import Callable, Sequence

from backends.base import Attachment, Occupant
from backends.errors import InUse
from backends.host import mountinfo, mounts, targets
from backends.host.processes import Sought, occupants
from backends.host.waiting import wait_until

BUSY_SECONDS = 1.0
"""How long a busy mount is tried again: something may just be looking into it."""
RELEASE_SECONDS = 5.0
"""How long a container that is being stopped may still hold the data."""


def holding(attachments: Sequence[Attachment]) -> dict[str, list[Occupant]]:
    """Who has these volumes mounted, by name; one pass over the process table."""
    return occupants(
        {one.name: Sought(one.device, one.root, one.target) for one in attachments if one.device}
    )


def unmount(attachment: Attachment, ours: Callable[[mountinfo.Mount], bool]) -> None:
    """Take the mounts that are `ours` off the target, and remove it. Something else that is
    mounted there stays. InUse while a process of this namespace has files open below."""
    target = attachment.target
    while (top := mountinfo.top(mountinfo.read(), str(target))) is not None:
        if not ours(top):
            return
        if not wait_until(lambda: mounts.unmounted(target), BUSY_SECONDS):
            raise InUse(
                f"volume {attachment.name} cannot be unmounted: a process on this node has files "
                f"open below {target} (`fuser -vm {target}` names it)"
            )
    targets.clear(target)


def await_release(attachment: Attachment, released: Callable[[], bool]) -> None:
    """Wait a moment until nobody outside holds the data. InUse, naming who does, otherwise."""
    if wait_until(released, RELEASE_SECONDS):
        return
    users = holding([attachment]).get(attachment.name, [])
    names = sorted({_described(user) for user in users})
    raise InUse(
        f"volume {attachment.name} is unmounted here, but its data are still held by "
        + (", ".join(names) if names else "a process that cannot be seen from here")
    )


def _described(user: Occupant) -> str:
    if user.container:
        return f"container {user.container[:12]} ({user.command}, pid {user.pid})"
    return f"{user.command} (pid {user.pid})"
