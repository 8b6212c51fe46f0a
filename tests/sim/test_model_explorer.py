"""The explorer finds what is broken, and the shortest way there."""

from collections.abc import Iterator

import pytest

from docs.model.explorer import Counterexample, Hope, Model, TooLarge, explore


class Jugs(Model[tuple[int, int]]):
    """Two jugs, of 3 and of 5; the riddle is to have 4."""

    def initial(self) -> Iterator[tuple[int, int]]:
        yield (0, 0)

    def steps(self, state: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
        small, big = state
        yield "fill small", (3, big)
        yield "fill big", (small, 5)
        yield "empty small", (0, big)
        yield "empty big", (small, 0)
        poured = min(small, 5 - big)
        yield "small into big", (small - poured, big + poured)
        poured = min(big, 3 - small)
        yield "big into small", (small + poured, big - poured)


def test_every_state_is_looked_at() -> None:
    explored = explore(Jugs())
    assert explored.states == 16
    assert explored.steps == 16 * 6
    assert "small into big" in explored.names


def test_the_shortest_way_to_a_broken_invariant() -> None:
    jugs = Jugs()
    jugs.invariants = {"nobody measures four": lambda state: state[1] != 4}
    with pytest.raises(Counterexample, match="nobody measures four") as found:
        explore(jugs)
    assert len(found.value.steps) == 6
    assert found.value.steps[0] == "fill big"
    assert found.value.trace[-1][1] == "(3, 4)"


def test_a_broken_beginning() -> None:
    jugs = Jugs()
    jugs.invariants = {"never empty": any}
    with pytest.raises(Counterexample, match="after 0 steps"):
        explore(jugs)


def test_a_broken_step() -> None:
    jugs = Jugs()
    jugs.step_rules = {"water is not spilt": lambda b, step, a: step[:5] != "empty" or b == a}
    with pytest.raises(Counterexample) as found:
        explore(jugs)
    assert found.value.steps[-1].startswith("empty")
    assert len(found.value.steps) == 2


def test_a_hope_that_is_lost() -> None:
    jugs = Jugs()
    jugs.hopes = {"can be emptied": Hope(goal=lambda state: state == (0, 0))}
    explore(jugs)
    jugs.hopes = {
        "can be emptied by pouring": Hope(
            goal=lambda state: state == (0, 0), by=lambda step: "into" in step
        )
    }
    with pytest.raises(Counterexample, match="by pouring") as found:
        explore(jugs)
    assert len(found.value.steps) == 1
    jugs.hopes = {
        "what is empty is": Hope(
            goal=lambda state: state == (0, 0), given=lambda s: not any(s), by=lambda step: False
        )
    }
    explore(jugs)


def test_what_is_too_large_is_not_called_sound() -> None:
    with pytest.raises(TooLarge):
        explore(Jugs(), limit=10)
