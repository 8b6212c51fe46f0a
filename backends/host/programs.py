"""Running programs: mkfs, fsck and grow, where the kernel has no call for it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from backends.errors import HostError, NoSpace

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
_PACKAGES = {
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "xfs_growfs": "xfsprogs",
    "xfs_repair": "xfsprogs",
    "glusterfs": "glusterfs-client",
    "gluster": "glusterfs-cli",
}


def run(
    arguments: Sequence[str | Path], *, seconds: float, good: Sequence[int] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output is captured.

    Raises HostError with the program's own words when it is missing, takes longer than `seconds`
    (it is killed) or ends with a code that is not `good`; NoSpace when it says the disk is full.
    """
    name = str(arguments[0])
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        package = _PACKAGES.get(name, name)
        raise HostError(f"{name} is not installed; install the package {package}") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{name} did not finish within {seconds:.0f} seconds") from error
    if done.returncode in good:
        return done
    words = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-600:]
    if "No space left on device" in words:
        raise NoSpace(f"{name} found no space left: {words}")
    raise HostError(f"{name} failed with code {done.returncode}: {words}")
