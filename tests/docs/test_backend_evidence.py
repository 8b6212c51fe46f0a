"""What is promised on Ceph, on GlusterFS and in a bucket, and what may fail there: each has a line
with tests, or with the file of a measurement.

That the tests exist, test_evidence.py sees to.
"""

import re

import pytest

from driver.__main__ import option_tables
from tests.docs.test_evidence import DOCS, NAMED, ROOT

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
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    found = [re.split(r"(?<!\\)\|", line) for line in lines]
    return {row[1].strip(): row[3] for row in found if row[3].strip() != "shown by"}


@pytest.mark.parametrize("page", FAULTS)
def test_every_line_names_a_test(page: str) -> None:
    found = rows(page)
    assert len(found) > len(FAULTS[page]) + 12
    assert [what for what, named in found.items() if not NAMED.search(named)] == []


@pytest.mark.parametrize("page", FAULTS)
def test_every_fault_has_a_line(page: str) -> None:
    assert tuple(rows(page))[-len(FAULTS[page]) :] == FAULTS[page]


MEASURED = re.compile(r"bench/results/[\w.-]+")
IN_A_BUCKET = (
    *("moto", "radosgw", "AWS", "pools", "timeouts", "retry", "checksums", "Store interface"),
    *(
        "zstd",
        "lz4",
        "none",
        "ext4",
        "xfs",
        "local",
        "store",
        "AES-256-GCM",
        "wrapped",
        "wrong key",
    ),
    *("snapshot create", "`rm`", "snapshot ls", "snapshot restore", "snapshot clone"),
    *("AES-256-GCM", "resize", "fsck", "progress bar", "export", "--orphan"),
    *("Bytes and seconds", "Last commit", "epoch", "Cache use", "Objects", "stored bytes"),
    *("Requests per minute", "one after the other", "race of 32", "Refused", "`If-Match`"),
    *("pure core", "local log", "The cache", "uploader", "read-ahead", "collector", "`/dev/fuse`"),
    *("punch", "zero-range", "4096", "direct I/O", "holder", "Upgraded", "Re-adopted"),
    *("create-if-absent", "Fences", "Put-ids", "claim", "liveness", "Scrub", "Bounded", "Orphan"),
    *(
        "golden",
        "dumper",
        "model",
        "simulation",
        "Ignored conditions",
        "oracle",
        "Mutants",
        "seeds",
    ),
    *(
        "seeds",
        "Crash replay",
        "server process",
        "Kill of the holder",
        "Kill of the node",
        "Partition",
    ),
    *("Pause", "outage of minutes", "Throttling", "Full local disk", "Corrupted and missing"),
    *("Two nodes", "Delete while mounted", "Takeover during collection", "failure matrix"),
    *("40 kills", "host ext4", "rclone, s3fs, s3backer, JuiceFS", "random write", "random read"),
    *("sequential", "oltp_write_only", "Cold mount", "Takeover", "Lag", "PUTs and GETs", "Memory"),
    *("Cost per month", "RPO", "Pause of a killed server"),
)


def test_in_a_bucket_every_line_has_a_test_or_a_measurement() -> None:
    found = rows("s3-evidence.md")
    files = {what: MEASURED.findall(shown) for what, shown in found.items()}
    assert [w for w, shown in found.items() if not files[w] and not NAMED.search(shown)] == []
    assert [f for named in files.values() for f in named if not (ROOT / f).is_file()] == []


def test_in_a_bucket_everything_has_a_line() -> None:
    """What was promised, and each option and setting that there is."""
    promised = " ".join(rows("s3-evidence.md"))
    tables = option_tables()["s3"]
    names = [row.name for kind in ("options", "settings") for row in tables[kind]]
    words = [*IN_A_BUCKET, *(rf"`{name}" for name in names)]
    missing = [word for word in words if word not in promised]
    assert missing == [], "each needs a line in docs/s3-evidence.md"
