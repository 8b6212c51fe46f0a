"""The root of a profile: is it the one we know?"""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from backends.errors import Damaged, Invalid, KedgeError, Unavailable
from backends.host import mountinfo
from backends.tree.store import Store, is_network


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str, str], Store]:
    numbers = count(1)

    def make(root: str = "root", state: str = "state") -> Store:
        return Store(tmp_path / root, tmp_path / state, lambda: f"id-{next(numbers)}")

    return make


Make = Callable[..., Store]


def test_constructing_touches_nothing(store: Make, tmp_path: Path) -> None:
    store()
    assert list(tmp_path.iterdir()) == []


def test_the_first_use_makes_it(store: Make, tmp_path: Path) -> None:
    identity = store().check()
    assert json.loads((tmp_path / "root" / "kedge.json").read_text()) == {
        "format": 1,
        "id": identity,
    }
    assert store().check() == identity
    assert store().known() == identity
    assert not list((tmp_path / "root").glob(".*"))


def test_other_nodes_find_the_same(store: Make) -> None:
    assert store().check() == store(state="other").check()


@pytest.mark.parametrize("leftover", ["records", "volumes", ".kedge.json-x", "lost+found"])
def test_a_first_use_cut_off_is_repeated(store: Make, tmp_path: Path, leftover: str) -> None:
    (tmp_path / "root" / leftover).mkdir(parents=True)
    assert store().check()


def test_a_root_that_is_not_mounted_stays_untouched(store: Make, tmp_path: Path) -> None:
    store().check()
    (tmp_path / "root").rename(tmp_path / "away")
    for there in (False, True):
        if there:
            (tmp_path / "root").mkdir()
        with pytest.raises(Unavailable, match="is it mounted"):
            store().check()
    assert list((tmp_path / "root").iterdir()) == []


def test_another_root_is_refused(store: Make, tmp_path: Path) -> None:
    one = store().check()
    (tmp_path / "root").rename(tmp_path / "away")
    two = store(state="other").check()
    with pytest.raises(Damaged) as told:
        store().check()
    assert one in str(told.value)
    assert two in str(told.value)


@pytest.mark.parametrize("name", ["file", "volumes/x", "records/x"])
def test_a_root_with_something_else_in_it_is_refused(
    store: Make, tmp_path: Path, name: str
) -> None:
    (tmp_path / "root" / name).parent.mkdir(parents=True)
    (tmp_path / "root" / name).write_text("precious")
    before = sorted((tmp_path / "root").rglob("*"))
    with pytest.raises(Invalid, match="name an empty directory"):
        store().check()
    assert sorted((tmp_path / "root").rglob("*")) == before


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 2, "id": "x"}', "\xff"])
@pytest.mark.parametrize("place", ["root/kedge.json", "state/store.json"])
def test_a_marker_that_cannot_be_read_is_damaged(
    store: Make, tmp_path: Path, place: str, content: str
) -> None:
    store().check()
    (tmp_path / place).write_text(content)
    with pytest.raises(Damaged, match=place.rpartition("/")[2]):
        store().check()
    assert (tmp_path / place).read_text() == content


def test_a_file_in_place_of_the_root_is_an_error(store: Make, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("precious")
    with pytest.raises(KedgeError):
        store().check()
    assert (tmp_path / "root").read_text() == "precious"


NETWORK = {"nfs4", "cifs", "fuse.glusterfs", "fuse.ceph-fuse", "ceph"}
HERE = {"ext4", "xfs", "overlay", "fuse.sshfs-local"}


@pytest.mark.parametrize("kind", sorted(NETWORK | HERE))
def test_which_file_systems_are_shared(kind: str) -> None:
    (mount,) = mountinfo.parse(f"1 0 0:1 / / rw - {kind} x rw\n".encode())
    assert is_network(mount) is (kind in NETWORK)
