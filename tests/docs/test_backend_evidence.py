"""What is promised on Ceph and on GlusterFS, and what may fail there: each has a line with tests.

That the tests exist, test_evidence.py sees to.
"""

import pytest

from tests.docs.test_evidence import DOCS, NAMED

FAULTS = {
    "ceph-evidence.md": (
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
    ),
    "gluster-evidence.md": (
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
    ),
}


def rows(page: str) -> dict[str, str]:
    """What each line is about, and the tests it names."""
    text = next(path for path in DOCS if path.name == page).read_text()
    found = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    return {row[1].strip(): row[3] for row in found if row[3].strip() != "shown by"}


@pytest.mark.parametrize("page", FAULTS)
def test_every_line_names_a_test(page: str) -> None:
    found = rows(page)
    assert len(found) > len(FAULTS[page]) + 12
    assert [what for what, named in found.items() if not NAMED.search(named)] == []


@pytest.mark.parametrize("page", FAULTS)
def test_every_fault_has_a_line(page: str) -> None:
    assert tuple(rows(page))[-len(FAULTS[page]) :] == FAULTS[page]
