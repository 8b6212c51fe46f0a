"""Which tests are tried again, and which of them fail the run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import groups, tries

Runs = Callable[..., list[list[str]]]
ONE, TWO = "tests/a.py::test_one", "tests/b.py::test_two[x@y]"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Lets pytest's runs end with these statuses and failures; the arguments of each run."""

    def script(*outcomes: tuple[int, list[str]]) -> list[list[str]]:
        left, asked = list(outcomes), []

        def run(arguments: list[str]) -> tuple[int, list[str]]:
            asked.append(arguments)
            return left.pop(0)

        monkeypatch.setattr(tries, "run", run)
        monkeypatch.setattr(tries, "PAUSE", 0)
        return asked

    return script


def test_all_well(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    asked = runs((0, []))
    assert tries.main("3") == 0
    assert asked[0][:2] == ["-n", "3"]
    assert capsys.readouterr().out == ""


def test_what_passes_alone_is_named(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    asked = runs((1, [ONE, TWO]), (1, [TWO]), (0, []))
    assert tries.main("3") == 0
    assert [words[3:] for words in asked[1:]] == [[ONE, TWO], [TWO]]
    assert capsys.readouterr().out.endswith(f"needed another try:\n   {ONE}\n   {TWO}\n")


def test_what_fails_every_time_fails_the_run(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs((1, [ONE, TWO]), (1, [TWO]), (1, [TWO]))
    assert tries.main("3") == 1
    said = capsys.readouterr().out
    assert f"needed another try:\n   {ONE}\n\n" in said
    assert said.endswith(f"failed every time:\n   {TWO}\n")


@pytest.mark.parametrize(
    "outcome", [(2, [ONE]), (1, []), (4, []), (5, [])], ids=["stopped", "lost", "usage", "none"]
)
def test_a_run_that_was_none_fails(runs: Runs, outcome: tuple[int, list[str]]) -> None:
    asked = runs(outcome)
    assert tries.main("3") == outcome[0]
    assert len(asked) == 1


def test_groups_are_taken_off_the_names() -> None:
    assert groups.plain([f"{ONE}@swarm", f"{TWO}@lab/test_loop", ONE, TWO]) == [ONE, TWO, ONE, TWO]


@pytest.mark.sim
def test_a_real_run(tmp_path: Path) -> None:
    """One that passes the second time, one that always fails, in groups."""
    (tmp_path / "test_it.py").write_text(
        "import pathlib, pytest\n"
        "pytestmark = pytest.mark.xdist_group('g')\n"
        "@pytest.mark.parametrize('x', ['a@b'])\n"
        "def test_second(x):\n"
        f"    seen = pathlib.Path({json.dumps(str(tmp_path / 'seen'))})\n"
        "    was, _ = seen.exists(), seen.touch()\n"
        "    assert was\n"
        "def test_never():\n    assert False\n"
    )
    place = ["--rootdir", str(tmp_path), "-c", "/dev/null"]
    status, failed = tries.run([*place, "-n", "2", "--dist", "loadgroup", str(tmp_path)])
    assert status == 1
    assert sorted(failed) == ["test_it.py::test_never", "test_it.py::test_second[a@b]"]
    again = [str(tmp_path / test) for test in failed]
    assert tries.run([*place, *again]) == (1, ["test_it.py::test_never"])
