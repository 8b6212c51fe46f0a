"""FUSE connections of our own: open and mount one, find it in the kernel, cut it off.

The kernel cuts a connection off by itself when the last descriptor of it is closed; whoever waits
then gets an error instead of waiting for ever. `abort` does the same at once.
"""

import contextlib
import errno
import os
import select
import stat
import sys
import tempfile
from collections.abc import Iterator
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


def abort(number: int) -> bool:
    """Cut a connection off: every waiting and later request fails. False: there is none such."""
    sys.audit("kedge.abort", number)
    with _control() as directory:
        try:
            (directory / str(number) / "abort").write_text("1")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
    return True


def waiting(number: int) -> int | None:
    """Requests that are not answered yet; None when there is no such connection."""
    with _control() as directory:
        try:
            return int((directory / str(number) / "waiting").read_text())
        except (OSError, ValueError):
            return None


def request_timeout() -> int:
    """Seconds after which the kernel cuts off every connection that leaves a request unanswered,
    if the administrator wants that; 0: never. A store that is away for longer is then an error."""
    found = 0
    for name in ("default_request_timeout", "max_request_timeout"):
        with contextlib.suppress(OSError, ValueError):
            found = found or int(Path("/proc/sys/fs/fuse", name).read_text())
    return found


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
