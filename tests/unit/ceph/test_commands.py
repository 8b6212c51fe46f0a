"""What would be run."""

from pathlib import Path

from backends.ceph.commands import Subvolume, ceph_fuse, mark, rbd_fuse, rbd_fuse_environment
from backends.ceph.options import CephSettings

SETTINGS = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")
REMOTE = CephSettings(keyring=Path("/etc/ceph/k"), fs="a", monitors="10.0.0.1,10.0.0.2")
VOLUME = Subvolume("/volumes/kedge/u/x", "kedge.u.3.n", Path("/s/keys/u"))


def test_ceph_fuse_is_told_everything_and_mounts_as_the_volumes_own_user() -> None:
    made = ceph_fuse(SETTINGS, VOLUME, Path("/s/m/u"), source=mark("p", "u"), socket="/s/$pid")
    assert " ".join(made) == (
        "ceph-fuse -c /etc/ceph/ceph.conf -n client.kedge.u.3.n --keyring /s/keys/u "
        "--client_fs a -r /volumes/kedge/u/x --admin-socket /s/$pid --log-file /dev/null "
        "--client_oc=false --client_mount_timeout 15 -o fsname=kedge:p:u /s/m/u"
    )


def test_monitors_replace_the_file() -> None:
    made = ceph_fuse(REMOTE, VOLUME, Path("/s/m/u"), source="x", socket="/s/$pid")
    assert made[1:5] == ["-c", "/dev/null", "-m", "10.0.0.1,10.0.0.2"]


def test_rbd_fuse_takes_its_client_from_the_environment() -> None:
    made = rbd_fuse(SETTINGS, "kedge-u", Path("/s/i/u"), source=mark("p", "u"))
    assert " ".join(made) == (
        "rbd-fuse -c /etc/ceph/ceph.conf -p kedge -r kedge-u -o fsname=kedge:p:u /s/i/u"
    )
    told = "--rbd_cache=false --id kedge --keyring /etc/ceph/k"
    assert rbd_fuse_environment(SETTINGS) == {"CEPH_ARGS": told}
    assert rbd_fuse_environment(REMOTE)["CEPH_ARGS"].endswith(" -m 10.0.0.1,10.0.0.2")
