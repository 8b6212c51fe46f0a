"""The documents name tests that exist, and a claim without one says so."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from driver.__main__ import option_tables

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def functions(path: Path) -> frozenset[str]:
    """Every function of a file, methods too."""
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = set(NAMED.findall(page.read_text()))
    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []


@pytest.mark.parametrize("page", ["evidence.md", "guarantees.md"])
def test_every_row_has_a_test_or_says_that_it_has_none(page: str) -> None:
    rows = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line[:2] == "| "]
    claims = [row for row in rows if "shown by" not in row and "borne out by" not in row]
    assert len(claims) > 8
    assert [row for row in claims if not NAMED.search(row) and "| by hand: " not in row] == []


def test_no_volume_option_takes_a_secret() -> None:
    """Docker shows options to whoever may inspect, and keeps them in clear text."""
    names = {row.name for tables in option_tables().values() for row in tables["options"]}
    assert len(names) > 5
    assert not [n for n in names if re.search("pass|secret|token|credential|key$", n)]
