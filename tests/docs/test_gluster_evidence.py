"""Everything that is promised on GlusterFS, and everything that may fail there, has a line with
tests."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "gluster-evidence.md"
NAMED = re.compile(r"`[\w/]+\.py::\w+`")
FAULTS = (
    "A server dead at mount",
    "A server away while a volume is made",
    "A server dies under a writer",
    "A server says nothing at mount",
    "A server hangs",
    "Two of three servers lost",
    "Every brick hangs",
    "An attempt to split the data",
    "A client dies right after it synced without a server",
    "A client crashes",
    "A client answers nobody",
    "The service is killed",
    "A node is drained, killed, cut off, or paused for less than its lease",
)


def test_every_line_names_tests() -> None:
    """That the tests exist, test_evidence.py sees to."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    lines = [row for row in rows if row[3].strip() != "shown by"]
    assert tuple(row[1].strip() for row in lines)[-len(FAULTS) :] == FAULTS
    assert len(lines) > len(FAULTS) + 12
    assert [row[1] for row in lines if not NAMED.search(row[3])] == []
