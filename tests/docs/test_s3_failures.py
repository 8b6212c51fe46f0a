"""Everything that may happen to a volume in a bucket has a line, and each line a test or an
admission."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "s3-failures.md"
NAMED = re.compile(r"`[\w/]+\.py::\w+`")
EVENTS = (
    "Data-path process killed",
    "Supervisor killed",
    "Node power loss, comes back first",
    "Node lost, volume up elsewhere",
    "Old node returns after takeover",
    "Partition, container still writing",
    "Process or VM paused for long, then resumed",
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
    "Bucket rolled back or restored from a backup",
    "Wrong key",
    "Store without working conditions",
)


def test_every_event_has_a_line_with_tests() -> None:
    """That the tests exist, test_evidence.py sees to."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    tests = {row[1].strip(): NAMED.findall(row[3]) for row in rows if row[1].strip() != "event"}
    assert tuple(tests) == EVENTS
    assert [event for event, named in tests.items() if not named] == []
