"""Claims and leases under everything that goes wrong, by the thousand, each run from one seed.

    KEDGE_SIM_SEEDS=1000000 python -m pytest tests/sim -k holds      # for a night
    python -m tests.sim.world SEED                                    # one run again

Rules: epochs only rise; an epoch has one holder; a released claim is free at once; no two machines
believe at the same moment that they may write (node fencing); no write of a lower epoch is
accepted after one of a higher (store fencing); the claims of the dead are had within ttl and two
seconds. `mutants.py` breaks each mechanism on purpose, and a rule must be seen broken.
"""

import os

import pytest

from backends.errors import KedgeError
from tests.sim.flavours import FLAVOURS, Flavour
from tests.sim.judge import Broken
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.world import World

SEEDS = int(os.environ.get("KEDGE_SIM_SEEDS", "2000"))
MUTANT_SEEDS = 3000
SHARES = 4


@pytest.mark.sim
@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_every_rule_holds(share: int) -> None:
    grants = takeovers = accepted = refused = 0
    for seed in range(share, SEEDS, SHARES):
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        grants += world.judge.grants
        takeovers += world.judge.takeovers
        accepted += world.judge.accepted
        refused += world.judge.refused
    assert min(grants, takeovers, accepted, refused) > SEEDS / 100, "too little happened"


def test_the_first_hundred() -> None:
    for seed in range(100):
        World(seed).run()


def test_every_kind_of_run_is_taken() -> None:
    assert {World(seed).flavour for seed in range(20)} == set(FLAVOURS)


def test_a_seed_is_one_schedule() -> None:
    runs = [World(7), World(7)]
    for world in runs:
        world.run()
    assert runs[0].judge.changes == runs[1].judge.changes
    assert runs[0].judge.volumes == runs[1].judge.volumes


@pytest.mark.sim
@pytest.mark.parametrize(("mutant", "flavour"), MUTANTS, ids=lambda m: getattr(m, "__name__", ""))
def test_every_broken_rule_is_found(
    mutant: Mutant, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((Broken, KedgeError)):
        run_all(flavour)


def run_all(flavour: Flavour) -> None:
    for seed in range(MUTANT_SEEDS):
        World(seed, flavour).run()
