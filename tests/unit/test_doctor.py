"""What `kedge doctor` finds, and that nothing keeps it from finding the rest."""

from pathlib import Path

import pytest

from backends.base import Finding, Level
from backends.errors import Unavailable
from driver.doctor import Doctor, mount_is_shared
from tests.simulated import Node

ID = "a" * 64


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.volumes.create("db", {})
    return made


def found(node: Node, subject: str, kernel: str = "6.1.0") -> list[tuple[Level, str]]:
    """What is said about one subject."""
    examined = Doctor(node.volumes, node.ledger, kernel).examine()
    assert all(f.advice or f.level is Level.OK for f in examined), "whoever reads it asks: and now?"
    return [(f.level, f.detail) for f in examined if f.subject == subject]


def test_nothing_is_wrong(node: Node) -> None:
    node.volumes.mount("db", ID)
    for subject in ("kernel", "loop devices", "ledger", "profile prod"):
        assert [level for level, _ in found(node, subject)] == [Level.OK], subject
    assert found(node, "volume db") == []


@pytest.mark.parametrize("kernel", ["5.7.19-generic", "4.19.0", "what?"])
def test_a_kernel_that_is_too_old(node: Node, kernel: str) -> None:
    ((level, detail),) = found(node, "kernel", kernel)
    assert (level, detail) == (Level.WARNING, f"{kernel} is older than 5.8")


def test_a_volume_of_the_same_name_of_docker_s_own_driver(node: Node) -> None:
    for name in ("db", "other"):
        (node.paths.docker_root / "volumes" / name).mkdir(parents=True)
    ((level, detail),) = found(node, "volume db")
    assert level is Level.WARNING
    assert "Docker's own driver `local` has a volume of the same name" in detail
    assert found(node, "volume other") == []


def test_a_mount_that_is_gone(node: Node) -> None:
    node.volumes.mount("db", ID)
    node.kernel.mounts.clear()
    assert found(node, "volume db") == [(Level.ERROR, "should be mounted and is not")]


def test_a_profile_that_was_taken_away(node: Node) -> None:
    node.volumes.mount("db", ID)
    node.volumes.backends = {}
    ((level, detail),) = found(node, "volume db")
    assert (level, "which is not in the settings" in detail) == (Level.ERROR, True)


@pytest.mark.parametrize("error", [Unavailable("it is away"), OSError(5, "it is away")])
def test_storage_that_fails_is_one_finding_among_the_others(node: Node, error: Exception) -> None:
    node.world.fail("volumes", error)
    ((level, detail),) = found(node, "profile prod")
    assert level is Level.ERROR
    assert "it is away" in detail
    assert found(node, "ledger") == [(Level.OK, "sound")]


def test_what_the_backend_knows_is_said_instead(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Finding(Level.ERROR, "bucket b", "there is no such bucket", "create it")
    monkeypatch.setattr(node.volumes.backends["prod"], "findings", lambda: [known])
    node.world.fail("volumes", Unavailable("cannot list"))
    assert found(node, "bucket b") == [(Level.ERROR, "there is no such bucket")]
    assert found(node, "profile prod") == []


def test_a_ledger_that_was_rebuilt(node: Node) -> None:
    node.ledger.close()
    node.ledger._path.write_bytes(b"noise")
    node.start()
    ((level, detail),) = found(node, "ledger")
    assert level is Level.WARNING
    assert "untrusted" in detail


MOUNTS = r"""
20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 8:2 / /var/lib/kedge rw - ext4 /dev/sda2 rw
22 21 8:3 / /var/lib/kedge/a\040b rw shared:7 - ext4 /dev/sda3 rw
""".strip()


@pytest.mark.parametrize(
    ("path", "shared"),
    [("/srv", True), ("/var/lib/kedge/x", False), ("/var/lib/kedge/a b/x", True)],
)
def test_whether_containers_would_see_what_is_mounted(path: str, shared: bool) -> None:
    assert mount_is_shared(MOUNTS, Path(path)) is shared


def test_what_is_attached_is_measured_while_the_storage_is_away(node: Node) -> None:
    """What is not in the store yet is of interest just then."""
    node.volumes.mount("db", ID)
    node.volumes.attachments.usage.clear()
    node.world.fail("volumes", Unavailable("it is away"))
    with pytest.raises(Unavailable):
        node.watchers["prod"].round()
    assert "db" in node.volumes.attachments.usage
