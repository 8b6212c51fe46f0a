"""Every state of the model of claims; and with each rule of the protocol broken, a counterexample.

`python -m docs.model.claims` explores it within wider bounds.
"""

import pytest

from docs.model.claims import MODELS, Claims
from docs.model.explorer import Counterexample, explore
from tests.sim.model_mutants import MUTANTS

pytestmark = pytest.mark.sim

HAPPENS = {"a ends the lease", "b claims it", "b releases", "a is refused", "a finds it alive"}
"""In every one of them, or too little was looked at."""


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("nothing goes wrong", set()),
        ("a crash", {"a crashes", "a resumes", "b is fenced"}),
        ("a fault", {"a lease arrives late", "a claim arrives late", "b hears no reply"}),
    ],
)
def test_every_rule_holds(name: str, more: set[str]) -> None:
    explored = explore(MODELS[name]())
    assert explored.states > 10_000
    assert explored.names >= HAPPENS | more


@pytest.mark.parametrize(("broken", "rule"), MUTANTS, ids=lambda m: getattr(m, "__name__", ""))
def test_every_broken_rule_is_found(broken: type[Claims], rule: str) -> None:
    with pytest.raises(Counterexample) as found:
        explore(broken())
    assert rule in found.value.rule, found.value
