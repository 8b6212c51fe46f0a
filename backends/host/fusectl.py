"""FUSE connections (fusectl): cutting a file system off from the process that serves it."""

import sys
from pathlib import Path

from backends.errors import HostError
from backends.host import mountinfo, mounts

_CONTROL = Path("/sys/fs/fuse/connections")


def abort(device: str) -> None:
    """End the connection of the FUSE file system `device` (major:minor, as in mountinfo).

    What waits in it and everything that is asked of it from now on fails at once (ENOTCONN), in
    every mount of it on this machine. Nothing is asked of whoever serves it. Gone already: does
    nothing. HostError when the kernel does not let us."""
    sys.audit("kedge.fusectl.abort", device)
    try:
        _control()
        (_CONTROL / _number(device) / "abort").write_text("1")
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(
            f"the FUSE connection {device} cannot be aborted: {error.strerror}; the service needs "
            "CAP_SYS_ADMIN and a kernel with fusectl"
        ) from error


def _number(device: str) -> str:
    """FUSE file systems have anonymous devices: major 0, the minor names the connection."""
    major, _, minor = device.partition(":")
    if major != "0":
        raise HostError(f"device {device} is not that of a FUSE file system")
    return minor


def _control() -> None:
    """Distributions mount fusectl at boot; a container has to do so itself."""
    top = mountinfo.top(mountinfo.read(), str(_CONTROL))
    if top is None or top.type != "fusectl":
        mounts.mount(Path("fusectl"), _CONTROL, "fusectl")
