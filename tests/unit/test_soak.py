"""The night of `make soak`: each step is run, whatever became of the one before."""

import re
from pathlib import Path

import pytest

from tests import soak
from tests.soak import STEPS, Step, chosen, night

ROOT = Path(__file__).parents[2]
ONE, TWO, THREE = Step("a-one", ("x.py",)), Step("a-two"), Step("b-three")


def test_every_long_test_is_part_of_a_step() -> None:
    """By their files' names: `make test` does not collect those."""
    steps = {path for step in STEPS for path in step.paths}
    files = {str(p.relative_to(ROOT)): p for p in (ROOT / "tests").rglob("*.py")}
    long = {name for name, path in files.items() if re.match("soak_|moves_on_", path.name)}
    assert len(long) > 15
    assert long <= steps
    assert all((ROOT / path).exists() for path in steps)
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_a_failure_does_not_end_the_night(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Step] = []

    def runs(step: Step) -> bool:
        asked.append(step)
        return step is not ONE

    assert night([ONE, TWO], runs) == 1
    assert asked == [ONE, TWO]
    said = capsys.readouterr().out
    assert re.search("FAILED +0.0 min, load +[0-9.]+  a-one\n", said)
    assert re.search("passed +0.0 min, load +[0-9.]+  a-two\n", said)
    assert night([ONE, TWO], lambda step: True) == 0


def test_an_interrupt_ends_it_and_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    def runs(step: Step) -> bool:
        if step is TWO:
            raise KeyboardInterrupt
        return True

    assert night([ONE, TWO, THREE], runs) == 1
    said = capsys.readouterr().out
    assert "interrupted" in said
    assert "b-three" not in said


def test_words_choose_by_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "STEPS", (ONE, TWO, THREE))
    assert chosen([]) == [ONE, TWO, THREE]
    assert chosen(["a"]) == [ONE, TWO]
    assert chosen(["b-t", "a-o"]) == [ONE, THREE]
    with pytest.raises(ValueError, match="no step begins with c; there are a-one"):
        chosen(["a", "c"])


@pytest.mark.parametrize(("said", "passed"), [("40", True), ("400", False)])
def test_a_step_has_its_settings_and_passes_if_its_program_does(said: str, passed: bool) -> None:
    assert soak.run(asserting("40", {"KEDGE_KILLS": said})) is passed


def test_a_setting_from_outside_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_KILLS", "400")
    assert soak.run(asserting("400", {"KEDGE_KILLS": "40"}))


def asserting(value: str, settings: dict[str, str]) -> Step:
    """A step that fails if the setting has another value."""
    text = f"import os; assert os.environ['KEDGE_KILLS'] == '{value}'"
    return Step("one", (text,), settings, ("-n", "1", "-r", "1"), "timeit")
