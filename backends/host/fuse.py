"""FUSE connections of our own: open and mount one, find it in the kernel, cut it off.

The kernel cuts a connection off by itself when the last descriptor of it is closed; whoever waits
then gets an error instead of waiting for ever. `severing` does the same at once.
"""

import contextlib
import os
import select
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from backends.errors import HostError
from backends.host import mountinfo, mounts
from backends.host.failures import explained

TYPE = "fuse.kedge"
_NODE = Path("/dev/fuse")
_NUMBER = os.makedev(10, 229)
_CONTROL = Path("/sys/fs/fuse/connections")
_MAX_READ = 1 << 20


def open_device() -> int:
    """A descriptor of /dev/fuse, a connection to be. The node is made where it is missing, as in
    the private /dev of a managed plugin."""
    with explained("open /dev/fuse"):
        with contextlib.suppress(FileExistsError):
            if not _NODE.exists():
                os.mknod(_NODE, stat.S_IFCHR | 0o600, _NUMBER)
        return os.open(_NODE, os.O_RDWR | os.O_CLOEXEC)


def mount(descriptor: int, target: Path, source: str) -> int:
    """Mount the connection at `target` for root alone; its number. Returns at once: nobody has to
    serve it yet."""
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,max_read={_MAX_READ}"
    with explained(f"mount a FUSE file system at {target}"):
        mounts.mount(
            Path(source), target, TYPE, options=options, flags=mounts.MS_NOSUID | mounts.MS_NODEV
        )
    found = connection(target)
    if found is None:
        raise HostError(f"{target} was mounted and is not in the mount table; who unmounts it?")
    return found


def connection(target: Path) -> int | None:
    """The number of the connection mounted at `target`, from the mount table; None when there is
    none of ours. Never blocks on a dead one."""
    top = mountinfo.top(mountinfo.read(), os.path.abspath(target))
    if top is None or top.type != TYPE:
        return None
    return int(top.device.partition(":")[2])


def is_over(descriptor: int) -> bool:
    """Whether the connection of this descriptor was aborted or unmounted."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


@contextlib.contextmanager
def severing(target: Path) -> Iterator[Callable[[], None]]:
    """A call that cuts off the connection now mounted at `target`, for the block: it does so also
    after the unmount, and never to another connection that was given the same number meanwhile.
    Nothing of ours mounted there, or over already: the call does nothing."""
    with contextlib.ExitStack() as stack:
        number, switch = connection(target), -1
        if number is not None:
            directory = stack.enter_context(_control())
            with contextlib.suppress(FileNotFoundError):
                switch = os.open(directory / str(number) / "abort", os.O_WRONLY | os.O_CLOEXEC)
                stack.callback(os.close, switch)
            if connection(target) != number:  # so what was opened may be somebody else's
                switch = -1

        def sever() -> None:
            if switch >= 0:
                sys.audit("kedge.sever", number)
                os.write(switch, b"1")

        yield sever


def waiting(number: int) -> int | None:
    """Requests that are not answered yet; None when there is no such connection."""
    with _control() as directory:
        try:
            return int((directory / str(number) / "waiting").read_text())
        except (OSError, ValueError):
            return None


@contextlib.contextmanager
def _control() -> Iterator[Path]:
    """The kernel's list of connections; mounted for the block where nobody has."""
    if mountinfo.top(mountinfo.read(), str(_CONTROL)) is not None:
        yield _CONTROL
        return
    place = Path(tempfile.mkdtemp(prefix="kedge-fusectl-"))
    try:
        with explained("mount fusectl"):
            mounts.mount(Path("fusectl"), place, "fusectl")
        try:
            yield place
        finally:
            mounts.unmount(place, lazily=True)
    finally:
        place.rmdir()
