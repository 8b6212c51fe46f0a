"""What carries the data: what the node has, what the profile wants, what would be run."""

import os
from pathlib import Path

import pytest

from backends.ceph import clients, kernel_ceph
from backends.ceph.carriers import Carriers
from backends.ceph.commands import Subvolume, rbd_map, rbd_unmap
from backends.ceph.commands import kernel_ceph as kernel_mount
from backends.ceph.options import CephSettings, DiskClient, FilesystemClient
from backends.errors import HostError
from backends.host import modules
from backends.host.mountinfo import Mount
from backends.options import parse

ALL, NONE = Carriers(ceph=True, rbd=True, nbd=True), Carriers(ceph=False, rbd=False, nbd=False)
NBD = Carriers(ceph=False, rbd=False, nbd=True)
SETTINGS = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")
REMOTE = CephSettings(keyring=Path("/etc/ceph/k"), fs="a", monitors="10.0.0.1,10.0.0.2")
VOLUME = Subvolume("/volumes/kedge/u/x", "kedge.u.3.n", Path("/s/keys/u"))


def settings(**words: str) -> CephSettings:
    raw = {"keyring": "/etc/ceph/k", "fs": "a", **words}
    made: CephSettings = parse(CephSettings, raw, subject="profile")
    return made


def test_the_kernel_is_taken_where_it_can() -> None:
    auto = settings()
    assert ALL.filesystem(auto) is FilesystemClient.KERNEL
    assert NONE.filesystem(auto) is FilesystemClient.FUSE
    assert ALL.disk(auto) is DiskClient.KERNEL
    assert NBD.disk(auto) is DiskClient.NBD
    assert NONE.disk(auto) is DiskClient.FUSE


def test_the_profile_may_force_one() -> None:
    forced = settings(filesystem_client="ceph-fuse", disk_client="rbd-fuse")
    assert ALL.filesystem(forced) is FilesystemClient.FUSE
    assert ALL.disk(forced) is DiskClient.FUSE
    assert ALL.disk(settings(disk_client="rbd-nbd")) is DiskClient.NBD


@pytest.mark.parametrize(
    ("setting", "value", "module"),
    [
        ("filesystem_client", "kernel", "ceph"),
        ("disk_client", "kernel", "rbd"),
        ("disk_client", "rbd-nbd", "nbd"),
    ],
)
def test_one_that_is_not_there_is_an_error_and_never_replaced(
    setting: str, value: str, module: str
) -> None:
    forced = settings(**{setting: value})
    with pytest.raises(HostError, match=f"modprobe {module}"):
        NONE.filesystem(forced) if setting == "filesystem_client" else NONE.disk(forced)


def test_what_a_kernel_has_is_found(tmp_path: Path) -> None:
    assert not modules.available("rbd", tmp_path)
    assert not modules.file_system("ceph", tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/filesystems").write_text("nodev\tproc\n\text4\nnodev\tceph\n")
    assert modules.file_system("ceph", tmp_path)
    listed = tmp_path / "lib/modules" / os.uname().release
    listed.mkdir(parents=True)
    (listed / "modules.dep").write_text("kernel/drivers/block/rbd.ko.xz: kernel/net/libceph.ko\n")
    (listed / "modules.builtin").write_text("kernel/drivers/block/nbd.ko\n")
    assert modules.available("rbd", tmp_path)
    assert modules.available("nbd", tmp_path)
    assert not modules.available("bd", tmp_path), "a part of a name is another module"
    (tmp_path / "sys/module/fuse").mkdir(parents=True)
    assert modules.available("fuse", tmp_path)


def test_this_machine_is_asked() -> None:
    found = clients.present()
    assert found.ceph == modules.file_system("ceph")
    assert modules.file_system("ext4") or modules.file_system("proc")


def test_the_kernels_cephfs_is_mounted_as_a_client_of_its_own() -> None:
    made = kernel_mount(SETTINGS, VOLUME, Path("/s/m/u"), secret=Path("/s/keys/u.secret"))
    assert " ".join(made) == (
        "mount -t ceph :/volumes/kedge/u/x /s/m/u -o name=kedge.u.3.n,"
        "secretfile=/s/keys/u.secret,mds_namespace=a,mount_timeout=15,noshare,"
        "conf=/etc/ceph/ceph.conf"
    )
    made = kernel_mount(REMOTE, VOLUME, Path("/s/m/u"), secret=Path("/s/keys/u.secret"))
    assert made[3] == "10.0.0.1,10.0.0.2:/volumes/kedge/u/x"
    assert made[-1].endswith("noshare,conf=/dev/null")


def test_images_are_mapped_as_clients_of_their_own() -> None:
    assert " ".join(rbd_map(SETTINGS, "kedge-u", "krbd")) == (
        "rbd device map -t krbd -o noshare,noudev -c /etc/ceph/ceph.conf --id kedge "
        "--keyring /etc/ceph/k kedge/kedge-u"
    )
    assert " ".join(rbd_map(REMOTE, "kedge-u", "nbd")) == (
        "rbd device map -t nbd --io-timeout 0 -c /dev/null -m 10.0.0.1,10.0.0.2 --id kedge "
        "--keyring /etc/ceph/k kedge/kedge-u"
    )


def test_images_are_unmapped() -> None:
    assert " ".join(rbd_unmap("/dev/rbd3", "krbd", force=False)) == (
        "rbd device unmap -t krbd -o noudev /dev/rbd3"
    )
    assert rbd_unmap("/dev/rbd3", "krbd", force=True)[-3:] == ["-o", "force,noudev", "/dev/rbd3"]
    assert "-o" not in rbd_unmap("/dev/nbd3", "nbd", force=True)


def test_what_the_kernels_client_says_of_itself() -> None:
    text = "instance: client.4305 (2)10.0.0.5:0/1234567\nblocklisted: false\n"
    assert kernel_ceph.state_in(text) == ("10.0.0.5:0/1234567", False)
    assert kernel_ceph.state_in(text.replace("false", "true"))[1]
    assert kernel_ceph.state_in("") == ("", False)


def test_the_key_goes_into_a_file_of_its_own() -> None:
    assert kernel_ceph.key_of("[client.x]\n\tkey = AQ==\n\tcaps = y\n") == "AQ=="
    with pytest.raises(HostError, match="no key"):
        kernel_ceph.key_of("[client.x]\n")


def test_a_kernel_mount_is_known_by_its_subvolume_and_its_place() -> None:
    def mount(point: str, device: str, kind: str = "ceph") -> Mount:
        source = "10.0.0.1:6789,10.0.0.2:6789:/volumes/kedge/the-uuid/random"
        empty: frozenset[str] = frozenset()
        return Mount(7, 1, device, "/data", point, empty, (), kind, source, empty)

    shown = mount("/mnt/db", "0:77")
    assert kernel_ceph.uuid_in(shown.source) == "the-uuid"
    assert kernel_ceph.uuid_in("10.0.0.1:/somewhere/else") == ""
    place = Path("/state/mounts/the-uuid")
    assert kernel_ceph.serves(shown, [mount(str(place), "0:77")], place)
    assert not kernel_ceph.serves(shown, [mount(str(place), "0:78")], place)
    assert not kernel_ceph.serves(shown, [], place), "of another profile"
