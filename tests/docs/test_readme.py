"""The transcript of the README is what one sees."""

import re
from pathlib import Path

import pytest

from backends.errors import InvalidOptions
from backends.local.options import LocalOptions
from backends.options import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEMO = (ROOT / "packaging/demo.sh").read_text()


def test_the_refusal_is_word_for_word() -> None:
    with pytest.raises(InvalidOptions) as found:
        parse(LocalOptions, {"sizee": "1G"}, subject="volume db")
    assert f"Error response from daemon: create db: {found.value}\n" in README


def test_the_demo_runs_the_same() -> None:
    shown = re.findall(r'^\$ docker exec (\S+) mariadb --table -e "(.*)"$', README, re.M)
    assert len(shown) == 3
    for container, sql in shown:
        name = container.replace("kedge-demo", "$volume")
        assert f'ask "{name}" "{sql}"' in DEMO
    assert 'mariadb --table -e "%s"' in DEMO
    assert 'mariadb --table -e "$2"' in DEMO


def test_every_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]
    named = {
        t for page in pages for t in re.findall(r"(?m)(?:`|^)make ([a-z-]+)", page.read_text())
    }
    assert {"demo", "test", "install", "uninstall-service"} <= named
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert named <= targets
