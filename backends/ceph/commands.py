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
    """ceph-fuse; it returns when the mount is there. `source` is shown in the mount table.

    Its cache is off: with it, a client that the cluster has shut out throws away what it has not
    sent yet, and then answers fsync as if all were well. Measured: without it, what write(2) has
    taken is in the cluster."""
    return [
        "ceph-fuse",
        *reaching(settings),
        *("-n", f"client.{volume.user}", "--keyring", str(volume.keyring)),
        *("--client_fs", settings.fs or "", "-r", volume.path),
        *("--admin-socket", socket, "--log-file", "/dev/null"),
        *("--client_oc=false", "--client_mount_timeout", str(_MOUNT_SECONDS)),
        *("-o", f"fsname={source}", str(mountpoint)),
    ]


def kernel_ceph(
    settings: CephSettings, volume: Subvolume, mountpoint: Path, *, secret: Path
) -> list[str]:
    """mount(8) for the kernel's CephFS. A client of its own for each mount, so that shutting one
    out meets no other volume of the node. `secret`: a file with the key and nothing else."""
    options = [
        f"name={volume.user}",
        f"secretfile={secret}",
        f"mds_namespace={settings.fs or ''}",
        f"mount_timeout={_MOUNT_SECONDS}",
        "noshare",
        *(["conf=/dev/null"] if settings.monitors is not None else [f"conf={settings.conf}"]),
    ]
    # Without addresses mount.ceph takes them from the file.
    source = f"{settings.monitors or ''}:{volume.path}"
    return ["mount", "-t", "ceph", source, str(mountpoint), "-o", ",".join(options)]


def rbd_map(settings: CephSettings, image: str, kind: str) -> list[str]:
    """`rbd device map`, of `kind` krbd or nbd; it prints the device. The kernel's client is one of
    its own for each image, so that shutting one out meets no other image of the node. Nobody waits
    for udev: in a container there is none, and the device's node is made by us."""
    options = {"krbd": ["-o", "noshare,noudev"], "nbd": ["--io-timeout", "0"]}[kind]
    conf = "/dev/null" if settings.monitors is not None else str(settings.conf)
    monitors = ["-m", settings.monitors] if settings.monitors is not None else []
    return [
        *("rbd", "device", "map", "-t", kind, *options, "-c", conf, *monitors),
        *("--id", settings.client, "--keyring", str(settings.keyring)),
        f"{settings.pool}/{image}",
    ]


def rbd_unmap(device: str, kind: str, *, force: bool) -> list[str]:
    """`rbd device unmap`. `force`: although it is in use; what waits for it fails."""
    options = {"krbd": ["-o", "force,noudev" if force else "noudev"], "nbd": []}[kind]
    return ["rbd", "device", "unmap", "-t", kind, *options, device]


def rbd_fuse(settings: CephSettings, image: str, mountpoint: Path, *, source: str) -> list[str]:
    """rbd-fuse; the image appears as a file of its own name. See `rbd_fuse_environment`."""
    conf = "/dev/null" if settings.monitors is not None else str(settings.conf)
    arguments = ["rbd-fuse", "-c", conf, "-p", settings.pool, "-r", image]
    return [*arguments, "-o", f"fsname={source}", str(mountpoint)]


def rbd_fuse_environment(settings: CephSettings) -> dict[str, str]:
    """rbd-fuse takes the rest from its environment only, and rbd-nbd the setting of its cache.

    librbd's cache is off: with it, a client that the cluster has shut out goes on telling its
    writers that their bytes are safe, flushed and all. Measured: without it, every write fails.
    """
    words = ["--rbd_cache=false", "--id", settings.client, "--keyring", str(settings.keyring)]
    words += ["-m", settings.monitors] if settings.monitors is not None else []
    return {"CEPH_ARGS": " ".join(words)}
