"""Every promise of volumes on Ceph, and every fault, has a line that names its tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ceph-evidence.md"
NAMED = re.compile(r"`[\w/]+\.py::\w+`")
FAULTS = (
    "OSD killed and back",
    "OSD or MDS hangs",
    "Monitor killed and back",
    "MDS restarted",
    "Manager hangs",
    "Nobody at the address",
    "Cluster full",
    "Quota reached",
    "Keyring missing or wrong",
    "Capability missing",
    "Pool or CephFS missing",
    "Image or subvolume deleted behind our back",
    "Client killed",
    "A record that was changed",
)


def rows() -> dict[str, list[str]]:
    """The tests that each line names. That they exist, test_evidence.py sees to."""
    found = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {row[1].strip(): NAMED.findall(row[3]) for row in found}


def test_every_line_names_a_test() -> None:
    named = {what: tests for what, tests in rows().items() if what not in ("promise", "fault")}
    assert len(named) > 30
    assert [what for what, tests in named.items() if not tests] == []


def test_every_fault_has_a_line() -> None:
    assert tuple(rows())[-len(FAULTS) :] == FAULTS
