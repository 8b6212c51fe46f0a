"""Everything that may happen to a volume in a bucket has a line, and each line a test that bears
its name; every invariant has a mutant, and that is one that is tried."""

import re
from pathlib import Path

from tests.sim import test_model_disk as model
from tests.sim.disk import test_world as clones
from tests.unit.disk import test_invariants as invariants
from tests.unit.disk import test_world as world

PAGE = Path(__file__).parents[2] / "docs" / "s3-failures.md"
NAMED = re.compile(r"`[\w/]+\.py::\w+`")
EVENTS = (
    "Data-path process killed",
    "Supervisor killed",
    "Node power loss, comes back first",
    "Node lost, volume up elsewhere",
    "Old node returns after takeover",
    "Partition, container still writing",
    "Process or VM paused for an hour, then resumed",
    "S3 down for one hour",
    "S3 throttling",
    "Slow or half-dead S3 node",
    "Local disk full",
    "Local disk EIO on log",
    "Corrupt or short object",
    "Missing object",
    "Bit flip in local cache",
    "Clock skew, clock step",
    "Two nodes mount at once",
    "Same node, two containers",
    "Delete while mounted",
    "GC against snapshot or clone",
    "GC against a lazy reader",
    "Crash in the middle of GC, checkpoint, clone, resize",
    "Takeover during collection",
    "ETag or SSE change, bucket migrated",
    "Bucket rolled back or restored from a backup",
    "Wrong key",
    "Store without working conditions",
)


INVARIANTS = tuple(f"I{number}" for number in range(1, 13))
MUTANTS = (*world.MUTANTS, *clones.MUTANTS, *(m for m, *_ in model.MUTANTS), *invariants.MUTANTS)


def rows(first: str) -> list[list[str]]:
    """The lines of the table whose first column is headed so, without its head."""
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |")) + 2
    end = next((n for n in range(start, len(lines)) if not lines[n]), len(lines))
    return [line.split("|") for line in lines[start:end]]


def test_every_event_has_a_test_that_bears_its_name() -> None:
    """That the tests exist, test_evidence.py sees to."""
    found = {row[1].strip(): NAMED.findall(row[3]) for row in rows("event")}
    assert tuple(found) == EVENTS
    for event, tests in found.items():
        name = f"::test_{re.sub('[^a-z0-9]+', '_', event.lower())}"
        assert [test for test in tests if name in test], event


def test_every_invariant_is_broken_by_mutants_that_are_tried() -> None:
    tried = {mutant.__name__ for mutant in MUTANTS}
    found = {row[1].split()[0]: re.findall(r"`(\w+)`", row[2]) for row in rows("invariant")}
    assert tuple(found) == INVARIANTS
    for invariant, mutants in found.items():
        assert mutants, invariant
        assert set(mutants) <= tried, invariant
