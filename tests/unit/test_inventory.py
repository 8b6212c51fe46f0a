"""What memory says about which volumes exist, and that a slow listing never overrules it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Volume, VolumeOptions
from backends.errors import HostError, KedgeError, NotFound, Unavailable
from driver.inventory import Inventory


def volume(name: str, uuid: str = "u1") -> Volume[Any]:
    return Volume(name, uuid, "2026-01-02T03:04:05Z", VolumeOptions())


class Storage:
    """A backend as far as the inventory can see."""

    def __init__(self) -> None:
        self.present: dict[str, Volume[Any]] = {}
        self.error: KedgeError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def get(self, name: str) -> Volume[Any]:
        if self.error:
            raise self.error
        if name not in self.present:
            raise NotFound(name)
        return self.present[name]

    def volumes(self) -> Sequence[Volume[Any]]:
        if self.error:
            raise self.error
        answer = list(self.present.values())
        self.meanwhile()
        return answer


@pytest.fixture
def a() -> Storage:
    return Storage()


@pytest.fixture
def b() -> Storage:
    return Storage()


@pytest.fixture
def inventory(a: Storage, b: Storage) -> Inventory:
    return Inventory({"a": a, "b": b})  # type: ignore[dict-item]


def names(inventory: Inventory) -> list[str]:
    return [known.volume.name for known in inventory.all()]


def test_refresh_adds_and_takes_away_what_the_storage_has(inventory: Inventory, a: Storage) -> None:
    a.present = {"x": volume("x"), "y": volume("y")}
    inventory.refresh("a")
    assert names(inventory) == ["x", "y"]
    del a.present["x"]
    inventory.refresh("a")
    assert names(inventory) == ["y"]


def test_refresh_of_one_profile_leaves_the_others(
    inventory: Inventory, a: Storage, b: Storage
) -> None:
    a.present, b.present = {"x": volume("x")}, {"z": volume("z"), "x": volume("x", "other")}
    inventory.refresh("a")
    inventory.refresh("b")
    found = inventory.find("x")
    assert names(inventory) == ["x", "z"]
    assert found is not None
    assert found.profile == "a"  # the first to be known under a name keeps it
    a.present = {}
    inventory.refresh("a")
    assert names(inventory) == ["z"]


def test_a_refresh_that_fails_forgets_nothing(inventory: Inventory, a: Storage) -> None:
    a.present = {"x": volume("x")}
    inventory.refresh("a")
    assert "a" not in inventory.unheard()
    a.error = Unavailable("away")
    with pytest.raises(Unavailable):
        inventory.refresh("a")
    assert names(inventory) == ["x"]
    assert inventory.unheard()["a"] == "away"


def test_what_was_made_while_the_storage_was_listed_stays(inventory: Inventory, a: Storage) -> None:
    def made() -> None:
        inventory.add("a", volume("new"))

    a.meanwhile = made
    inventory.refresh("a")
    assert names(inventory) == ["new"]


def test_what_was_removed_while_the_storage_was_listed_stays_removed(
    inventory: Inventory, a: Storage
) -> None:
    a.present = {"x": volume("x")}
    inventory.refresh("a")
    a.meanwhile = lambda: inventory.discard("x")
    inventory.refresh("a")
    assert names(inventory) == []


@given(
    st.lists(st.tuples(st.sampled_from(["add", "discard"]), st.sampled_from("xyz")), max_size=12),
    st.sets(st.sampled_from("xyz")),
    st.integers(0, 12),
)
def test_a_refresh_in_the_middle_of_changes_never_overrules_them(
    changes: list[tuple[str, str]], before: set[str], begins: int
) -> None:
    """The storage changes with each call, the listing is of some earlier moment."""
    a = Storage()
    a.present = {name: volume(name) for name in before}
    inventory = Inventory({"a": a})  # type: ignore[dict-item]
    inventory.refresh("a")

    def play(some: list[tuple[str, str]]) -> None:
        for what, name in some:
            if what == "add":
                a.present[name] = volume(name)
                inventory.add("a", volume(name))
            else:
                a.present.pop(name, None)
                inventory.discard(name)

    play(changes[:begins])
    a.meanwhile = lambda: play(changes[begins:])
    inventory.refresh("a")
    assert names(inventory) == sorted(a.present)


def test_resolve_asks_only_for_what_is_unknown(
    inventory: Inventory, a: Storage, b: Storage
) -> None:
    b.present = {"x": volume("x")}
    assert inventory.resolve("x").profile == "b"
    a.error = b.error = Unavailable("away")
    assert inventory.resolve("x").profile == "b"


@pytest.mark.parametrize("error", [Unavailable("away"), HostError("broken")])
def test_not_found_needs_every_backend_to_be_certain(
    inventory: Inventory, a: Storage, b: Storage, error: KedgeError
) -> None:
    with pytest.raises(NotFound, match="no such volume: x"):
        inventory.resolve("x")
    a.error = error
    with pytest.raises(Unavailable, match="whether volume x exists is not known now"):
        inventory.resolve("x")
    b.present = {"x": volume("x")}
    assert inventory.resolve("x").profile == "b"


def test_its_memory_of_changes_is_bounded(inventory: Inventory) -> None:
    for number in range(25_000):
        inventory.discard(f"v{number}")
    assert len(inventory._changed) <= 10_000
