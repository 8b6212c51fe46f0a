"""Thousands of lives of one disk with snapshots, clones and collection, and every rule broken once.

A few seeds always, hundreds with the marker `sim`; `KEDGE_SIM_SEEDS` says how many, and
`KEDGE_SIM_FIRST` which: a number that was not used before gives others.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from backends.disk.collection import deletion
from backends.disk.collection.sweeping import Sweeper
from backends.disk.core import pins
from backends.disk.core.checkpoint import Manifest
from backends.disk.core.head import Head
from backends.disk.core.liveness import Pinned
from backends.disk.core.naming import epoch_of
from backends.disk.inspection.dump import Unreadable
from backends.disk.journal import Journal
from backends.disk.snapshots import cloning
from backends.errors import Damaged
from tests.sim.disk.world import World
from tests.unit.disk.world import Broken

SEEDS = 8
MANY = int(os.environ.get("KEDGE_SIM_SEEDS", "1500"))
FIRST = int(os.environ.get("KEDGE_SIM_FIRST", "0"))
STEPS = 150


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_seed_contradicts_the_oracle(seed: int) -> None:
    World(seed).run(STEPS)


@pytest.mark.sim
@pytest.mark.parametrize("block", range(8))
def test_many_seeds_do_not_contradict_it(block: int) -> None:
    for seed in range(10_000 * FIRST + 1000 + block, 10_000 * FIRST + 1000 + MANY, 8):
        World(seed).run(STEPS)


@pytest.mark.sim
def test_the_runs_reach_what_they_are_for() -> None:
    seen: dict[str, int] = {}
    for seed in range(120):
        world = World(seed)
        world.run(STEPS)
        for what, count in world.seen.items():
            seen[what] = seen.get(what, 0) + count
    assert {"snapshot", "snapshot at rest", "went back", "dropped"} <= set(seen)
    assert {"cloned", "used a clone", "dropped a clone", "found the past", "copied"} <= set(seen)


def pins_do_not_count() -> Any:
    """Collection takes what only a snapshot needs."""
    return patch.object(Pinned, "need", lambda self, born, died: False)


def pins_end_too_early() -> Any:
    """An object that died with the record after the pin is taken for not needed."""

    def need(self: Pinned, born: int, died: int) -> bool:
        return any(born <= seq < died - 1 for seq in self.seqs)

    return patch.object(Pinned, "need", need)


def pins_of_the_past() -> Any:
    """A pin is made of a record that is not the checkpoint in the head, nor another pin's."""
    real = pins._of_checkpoint

    def earlier(head: Head) -> Any:
        pin = real(head)
        return replace(pin, seq=max(0, pin.seq - 3))

    return patch.object(pins, "_of_checkpoint", earlier)


def removal_forgets_clones() -> Any:
    """A disk that is removed takes what its clones need with it."""
    return patch.object(deletion, "_needed", lambda store, head: set())


def what_lives_again_is_dead() -> Any:
    """Going back forgets to count what it brings back."""
    real = Journal.become

    def become(self: Journal, past: Manifest) -> None:
        real(self, past)
        for number, found in self.map.objects.items():
            self.map.objects[number] = replace(found, live=0, died=found.died or self.tail.seq)

    return patch.object(Journal, "become", become)


def parts_of_pinned_checkpoints_are_litter() -> Any:
    """The table of contents of a snapshot is deleted as that of any earlier checkpoint."""

    def of(cls: type[Pinned], head: Head) -> Pinned:
        return Pinned(tuple(sorted({pin.seq + 1 for pin in head.pins.values()})), frozenset())

    return patch.object(Pinned, "of", classmethod(of))


def a_clone_takes_its_regions_for_its_own() -> Any:
    """Keys of the base are taken for the clone's: its first look finds nothing."""
    return patch.object(cloning, "located", lambda prefix, key: key)


def sweepers_take_names_of_any_epoch() -> Any:
    """Also those of whoever came after, and those that this very session is about to commit."""

    def strays(self: Sweeper, pinned: Pinned) -> list[str]:
        journal, known = self._journal, self._known()
        every = [item.key.removeprefix(journal.prefix) for item in self._store.list(journal.prefix)]
        return [key for key in every if epoch_of(key) is not None and key not in known]

    return patch.object(Sweeper, "_strays", strays)


def sweepers_know_only_what_lives() -> Any:
    """What only a snapshot needs is taken for a stray: neither our map nor the snapshot's own
    checkpoint is asked, each of which knows nearly all of it."""

    def known(self: Sweeper) -> set[str]:
        journal = self._journal
        live = {found.key for found in journal.map.objects.values() if found.live}
        return live | {*journal.regions.values(), journal.manifest}

    return patch.multiple(Sweeper, _known=known, _named=lambda self, pinned: set())


MUTANTS = [
    sweepers_take_names_of_any_epoch,
    sweepers_know_only_what_lives,
    pins_do_not_count,
    pins_end_too_early,
    pins_of_the_past,
    removal_forgets_clones,
    what_lives_again_is_dead,
    parts_of_pinned_checkpoints_are_litter,
    a_clone_takes_its_regions_for_its_own,
]


@pytest.mark.sim
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_broken_rule_is_seen(mutant: Callable[[], Any]) -> None:
    with mutant():
        for seed in range(400):
            try:
                World(seed).run(STEPS)
            except (Broken, Damaged, KeyError, Unreadable):
                return
    raise AssertionError(f"{mutant.__name__} goes unnoticed")
