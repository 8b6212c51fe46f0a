"""How the programs that carry the data on this node are called. Pure."""

from dataclasses import dataclass
from pathlib import Path

from backends.ceph.options import CephSettings

_MOUNT_SECONDS = 15


def mark(profile: str, uuid: str) -> str:
    """What the mount table shows as the source of a volume's mount."""
    return f"kedge:{profile}:{uuid}"


def reaching(settings: CephSettings) -> list[str]:
    """How every program is told where the cluster is."""
    if settings.monitors is None:
        return ["-c", str(settings.conf)]
    return ["-c", "/dev/null", "-m", settings.monitors]


@dataclass(frozen=True)
class Subvolume:
    """What a client needs to mount one subvolume: `user` may do nothing else."""

    path: str
    user: str
    keyring: Path


def ceph_fuse(
    settings: CephSettings, volume: Subvolume, mountpoint: Path, *, source: str, socket: str
) -> list[str]:
    """ceph-fuse; it returns when the mount is there. `source` is shown in the mount table."""
    return [
        "ceph-fuse",
        *reaching(settings),
        *("-n", f"client.{volume.user}", "--keyring", str(volume.keyring)),
        *("--client_fs", settings.fs or "", "-r", volume.path),
        *("--admin-socket", socket, "--log-file", "/dev/null"),
        *("--client_mount_timeout", str(_MOUNT_SECONDS)),
        *("-o", f"fsname={source}", str(mountpoint)),
    ]


def rbd_fuse(settings: CephSettings, image: str, mountpoint: Path, *, source: str) -> list[str]:
    """rbd-fuse; the image appears as a file of its own name. See `rbd_fuse_environment`."""
    conf = "/dev/null" if settings.monitors is not None else str(settings.conf)
    arguments = ["rbd-fuse", "-c", conf, "-p", settings.pool, "-r", image]
    return [*arguments, "-o", f"fsname={source}", str(mountpoint)]


def rbd_fuse_environment(settings: CephSettings) -> dict[str, str]:
    """rbd-fuse takes the rest from its environment only.

    librbd's cache is off: with it, a client that the cluster has shut out goes on telling its
    writers that their bytes are safe, flushed and all. Measured: without it, every write fails.
    """
    words = ["--rbd_cache=false", "--id", settings.client, "--keyring", str(settings.keyring)]
    words += ["-m", settings.monitors] if settings.monitors is not None else []
    return {"CEPH_ARGS": " ".join(words)}
