"""An image as a block device: the node stands where the file would, and is never trusted alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.ceph.layout import Place
from backends.ceph.options import CephSettings, DiskClient
from backends.ceph.rbd_device import RbdDevice
from backends.errors import HostError
from backends.host import loop, programs

SETTINGS = CephSettings(keyring=Path("/etc/ceph/k"), fs="a")


class FakeKernel:
    """Programs that map and unmap, and what /sys would show; the device is a real one."""

    def __init__(self, root: Path, number: int) -> None:
        self.root = root
        self.device = f"7:{number}"
        self.ran: list[list[str]] = []

    def run(self, arguments: list[str], **_: object) -> object:
        self.ran.append([str(word) for word in arguments])
        if "map" in arguments:
            self.map("kedge", "kedge-u")
        return type("Done", (), {"stdout": "/dev/rbd0\n"})()

    def map(self, pool: str, image: str) -> None:
        facts = self.root / "sys/bus/rbd/devices/0"
        block = self.root / "sys/block/rbd0"
        for directory in (facts, block, self.root / "sys/dev/block"):
            directory.mkdir(parents=True, exist_ok=True)
        (facts / "pool").write_text(pool + "\n")
        (facts / "name").write_text(image + "\n")
        (block / "dev").write_text(self.device + "\n")
        link = self.root / "sys/dev/block" / self.device
        if not link.is_symlink():
            link.symlink_to(block)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    image = tmp_path / "image"
    image.write_bytes(b"\0" * 2**20)
    with loop.attached(image, label="fake rbd") as device:
        made = FakeKernel(tmp_path / "fake", device.number)
        monkeypatch.setattr(programs, "run", made.run)
        yield made


@pytest.fixture
def device(kernel: FakeKernel, tmp_path: Path) -> RbdDevice:
    place = Place(SETTINGS, *(None,) * 5, tmp_path / "state", "n", "p", None)  # type: ignore[arg-type]
    return RbdDevice(place, kernel.root)


def test_a_mapped_image_is_a_node_that_a_loop_device_can_hold(
    kernel: FakeKernel, device: RbdDevice, tmp_path: Path
) -> None:
    directory = tmp_path / "state/images/u"
    node = device.open("kedge-u", directory, DiskClient.KERNEL)
    assert node == directory / "kedge-u"
    assert stat.S_ISBLK(node.stat().st_mode)
    assert device.file(directory) == node
    with loop.attached(node, label="x") as above, loop.opened(above.number, os.O_RDWR) as opened:
        os.pwrite(opened, b"through", 0)
        os.fsync(opened)
        assert loop.backed_by(node) == above.number
    assert (tmp_path / "image").read_bytes()[:7] == b"through"
    device.close(directory)
    assert kernel.ran[-1] == ["rbd", "device", "unmap", "-t", "krbd", "-o", "noudev", "/dev/rbd0"]
    assert not directory.exists()


def test_a_node_that_outlived_its_device_is_nobodys(
    kernel: FakeKernel, device: RbdDevice, tmp_path: Path
) -> None:
    """After a restart of the machine the number may belong to another image."""
    directory = tmp_path / "state/images/u"
    device.open("kedge-u", directory, DiskClient.KERNEL)
    kernel.map("kedge", "kedge-another")
    assert device.file(directory) is None
    kernel.ran.clear()
    device.kill(directory)
    device.close(directory)
    assert kernel.ran == [], "somebody else's device was unmapped"
    assert not directory.exists()


def test_a_mapping_that_shows_no_device_is_undone(
    kernel: FakeKernel, device: RbdDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "map", lambda pool, image: None)
    directory = tmp_path / "state/images/u"
    with pytest.raises(HostError, match="no usable device"):
        device.open("kedge-u", directory, DiskClient.KERNEL)
    assert "unmap" in kernel.ran[-1]
    assert not directory.exists()


def test_a_device_is_ended_at_once(kernel: FakeKernel, device: RbdDevice, tmp_path: Path) -> None:
    directory = tmp_path / "state/images/u"
    device.open("kedge-u", directory, DiskClient.KERNEL)
    device.kill(directory)
    assert kernel.ran[-1][-3:] == ["-o", "force,noudev", "/dev/rbd0"]
