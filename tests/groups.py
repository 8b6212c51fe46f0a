"""Which tests run one after the other, on one worker, and which groups begin first.

Tests with real parts (marked `lab`) that share a fixture share a group: all tests below a directory
with a `conftest.py`, and else those of one class, or of one file. A test may name another group
itself with `pytest.mark.xdist_group`. All other tests are spread over the workers one by one.

The longest groups begin first, so that no worker is left alone with one at the end; what is short
fills up the rest. `LONGEST` is by what `make test` prints, and a group that it does not know comes
before those it knows to be short.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LABS = ("engine", "swarm")
"""Directories in which every test is one with real parts."""
LONGEST = (
    *("swarm", "ceph", "gluster", "contract/test_s3-TestS3"),
    *("engine-managed", "engine-socket"),
)
SHORTEST = ("local", "lab/test_loop", "lab/test_outside", "unit/test_tcp")


def arrange(items: list[pytest.Item]) -> None:
    """Mark the tests with their groups and put them in the order in which they begin."""
    for item in items:
        if item.path.relative_to(HERE).parts[0] in LABS:
            item.add_marker(pytest.mark.lab)
        if item.get_closest_marker("lab") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=rank)


def group(item: pytest.Item) -> str:
    """The group of a test with real parts: where it shares them, and with which packaging."""
    above = [place for place in item.path.parents if HERE in place.parents]
    shared = next((place for place in above if (place / "conftest.py").exists()), None)
    name = str((shared or item.path.with_suffix("")).relative_to(HERE))
    cls = getattr(item, "cls", None)
    if cls and not shared:
        return f"{name}-{cls.__name__}"
    made_with = getattr(item, "callspec", None)
    form = made_with.params.get("shared_node") if made_with else None
    return f"{name}-{form}" if form else name


def named(item: pytest.Item) -> str | None:
    """The group that a test is marked with."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else None


def rank(item: pytest.Item) -> tuple[int, str]:
    """Tests of lower rank begin earlier; those of one group stay together."""
    name = named(item)
    if name is None:
        return (len(LONGEST) + len(SHORTEST) + 2 - bool(item.get_closest_marker("sim")), "")
    if name in LONGEST:
        return (LONGEST.index(name), name)
    if name in SHORTEST:
        return (len(LONGEST) + 1 + SHORTEST.index(name), name)
    return (len(LONGEST), name)


def plain(ids: Iterable[str]) -> list[str]:
    """Test ids as pytest takes them: xdist writes the group behind, as `test[x]@group`."""
    return [id.rsplit("@", 1)[0] if id.rfind("@") > id.rfind("]") else id for id in ids]
