"""What `kedge doctor` says about a Gluster volume that shall carry databases.

Nothing is ever set by kedge: the pool takes changes from its own servers only, and its options
concern everybody who uses the Gluster volume. The advice is the command to type there.
"""

from collections.abc import Iterator

from backends.base import Finding, Level
from backends.gluster.pool import Facts

WANTED = {
    "performance.write-behind": "off",
    "performance.stat-prefetch": "off",
    "performance.quick-read": "off",
    "performance.io-cache": "off",
    "performance.read-ahead": "off",
    "performance.readdir-ahead": "off",
    "performance.strict-o-direct": "on",
    "performance.read-after-open": "yes",
}
"""From Gluster's own option group `db-workload`, those that decide what a database reads back.
None of them is so by default."""
LONGEST_PING = 10
_DEFAULT_PING = 42


def findings(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    """Everything worth saying; nothing for an option that is as it should be."""
    if not facts.started:
        advice = f"gluster volume start {volume}"
        yield Finding(Level.ERROR, subject, f"the Gluster volume {volume} is not started", advice)
        return
    yield Finding(Level.OK, subject, f"{facts.type}, {facts.bricks} bricks")
    yield from _copies(volume, facts, subject)
    yield from _patience(volume, facts, subject)
    yield from _options(volume, facts, subject)
    yield from _quota(volume, facts, subject)


def _copies(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    if "Replicate" not in facts.type:
        detail = f"{facts.type} keeps one copy of every file: a lost brick is lost data"
        yield Finding(Level.WARNING, subject, detail, "use replica 3, or replica 3 arbiter 1")
    elif " 2 =" in facts.bricks and "+" not in facts.bricks:
        detail = "two copies: the loss of one server stops all writing, or splits the data"
        advice = f"gluster volume add-brick {volume} replica 3 arbiter 1 SERVER:BRICK"
        yield Finding(Level.WARNING, subject, detail, advice)
    if facts.options.get("cluster.quorum-type", "auto") != "auto":
        detail = "cluster.quorum-type is not auto: both halves of a torn pool accept writes"
        advice = f"gluster volume set {volume} cluster.quorum-type auto"
        yield Finding(Level.ERROR, subject, detail, advice)


def _patience(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    ping = float(facts.options.get("network.ping-timeout", _DEFAULT_PING))
    if ping == 0 or ping > LONGEST_PING:
        detail = f"a server that hangs stops every write for network.ping-timeout = {ping:g} s"
        advice = f"gluster volume set {volume} network.ping-timeout {LONGEST_PING}"
        yield Finding(Level.WARNING, subject, detail, advice)


def _options(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    wrong = {k: v for k, v in WANTED.items() if facts.options.get(k) != v}
    if wrong:
        detail = "not as databases need it: " + ", ".join(sorted(wrong))
        pairs = " ".join(f"{key} {value}" for key, value in sorted(wrong.items()))
        yield Finding(Level.WARNING, subject, detail, f"gluster volume set {volume} {pairs}")


def _quota(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    if not facts.is_on("features.quota"):
        return
    for timeout in ("soft-timeout", "hard-timeout"):
        if facts.options.get(f"features.{timeout}") not in ("0", "0sec"):
            detail = f"quota {timeout} is not 0: a directory may hold far more than its size"
            advice = f"gluster volume quota {volume} {timeout} 0"
            yield Finding(Level.WARNING, subject, detail, advice)
