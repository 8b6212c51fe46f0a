"""Running programs: mkfs, fsck and grow, where the kernel has no call for it."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from backends.errors import HostError, NoSpace

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
_KILL_SECONDS = 2.0
_WATCH_SECONDS = 1.0
_PACKAGES = {
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "xfs_repair": "xfsprogs",
    "rbd": "ceph-common",
    "glusterfs": "glusterfs-client",
    "gluster": "glusterfs-cli",
}


def installed(name: str) -> bool:
    """Whether `run` would find the program."""
    return shutil.which(name, path=_ENVIRONMENT["PATH"]) is not None


def run(
    arguments: Sequence[str | Path],
    *,
    seconds: float,
    good: Sequence[int] = (0,),
    environment: Mapping[str, str] = MappingProxyType({}),
    watch: Callable[[int], None] = lambda pid: None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output is captured. Of the environment it gets nothing but a
    path, the C locale and `environment`. `watch` is called with its pid every second; when that
    raises, the program is killed.

    Raises HostError with the program's own words when it is missing, takes longer than `seconds`
    (it is killed) or ends with a code that is not `good`; NoSpace when it says the disk is full.
    """
    name = str(arguments[0])
    try:
        started = subprocess.Popen(
            [str(argument) for argument in arguments],
            env={**_ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        package = _PACKAGES.get(name, name)
        raise HostError(f"{name} is not installed; install the package {package}") from error
    done = _ended(started, name, seconds, watch)
    if done.returncode in good:
        return done
    words = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-600:]
    if "No space left on device" in words:
        raise NoSpace(f"{name} found no space left: {words}")
    raise HostError(f"{name} failed with code {done.returncode}: {words}")


def _ended(
    started: "subprocess.Popen[str]", name: str, seconds: float, watch: Callable[[int], None]
) -> subprocess.CompletedProcess[str]:
    """Wait for the end. One that waits in the kernel for a device cannot even be killed; then
    nobody waits for it any longer."""
    left = seconds
    try:
        while left > _WATCH_SECONDS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return _output(started, _WATCH_SECONDS)
            left -= _WATCH_SECONDS
            watch(started.pid)
        return _output(started, left)
    except subprocess.TimeoutExpired as error:
        _kill(started)
        raise HostError(f"{name} did not finish within {seconds:.0f} seconds") from error
    except BaseException:
        _kill(started)
        raise


def _output(started: "subprocess.Popen[str]", seconds: float) -> subprocess.CompletedProcess[str]:
    stdout, stderr = started.communicate(timeout=seconds)
    return subprocess.CompletedProcess(started.args, started.returncode, stdout, stderr)


def _kill(started: "subprocess.Popen[str]") -> None:
    started.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.communicate(timeout=_KILL_SECONDS)
