"""What `kedge doctor` says about a Gluster volume that shall carry databases.

The Gluster volume is never changed by kedge: the pool takes changes from its own servers only, and
its options concern everybody who uses the volume. The advice is the command to type there; what
clients can do by themselves they do when asked (`for_databases`).
"""

from collections.abc import Iterator

from backends.base import Finding, Level
from backends.gluster.databases import WANTED
from backends.gluster.pool import Facts
from backends.host import tcp

LONGEST_PING = 10
_DEFAULT_PING = 42
_SILENCE = {"server.tcp-user-timeout": 42, "server.keepalive-time": 20}
"""How long a server keeps what a client had that is not heard of any more; the defaults."""
_DELAY = "cluster.post-op-delay-secs"


def findings(
    volume: str, facts: Facts, subject: str, for_databases: bool = False
) -> Iterator[Finding]:
    """All that is worth saying; nothing about an option that is as it should be. `for_databases`:
    the clients of the profile see to theirs themselves."""
    if not facts.started:
        advice = f"gluster volume start {volume}"
        yield Finding(Level.ERROR, subject, f"the Gluster volume {volume} is not started", advice)
        return
    yield Finding(Level.OK, subject, f"{facts.type}, {facts.bricks} bricks")
    yield from _copies(volume, facts, subject)
    yield from _patience(volume, facts, subject)
    if not for_databases:
        yield from _synced(volume, facts, subject)
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
    long = {k: float(facts.options.get(k, default)) for k, default in _SILENCE.items()}
    if any(seconds == 0 or seconds > LONGEST_PING for seconds in long.values()):
        detail = (
            "a node whose cable is pulled keeps its locks on the servers for up to "
            f"{sum(long.values()):g} s, and whoever takes over waits for them"
        )
        wanted = " ".join(f"{option} {LONGEST_PING}" for option in _SILENCE)
        yield Finding(Level.WARNING, subject, detail, f"gluster volume set {volume} {wanted}")


def _synced(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    """Which copies lack a write is noted so much later. A client that dies in between, after it
    has written without a server that was away, leaves nobody who knows that the server's copy is
    the old one; it may be taken for the right one when the server is back."""
    delay = facts.options.get(_DELAY, "1")
    if delay != WANTED[_DELAY]:
        detail = (
            f"{_DELAY} is {delay}: what was synced may be lost when a server is away and the "
            "client dies within that time"
        )
        advice = f"gluster volume set {volume} {_DELAY} 0, or for_databases = true in the profile"
        yield Finding(Level.ERROR, subject, detail, advice)


def _options(volume: str, facts: Facts, subject: str) -> Iterator[Finding]:
    wrong = {k: v for k, v in WANTED.items() if k != _DELAY and facts.options.get(k) != v}
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


def fence(subject: str) -> Iterator[Finding]:
    """Whether a volume that this node has to give up is cut off for certain."""
    try:
        tcp.try_out()
    except OSError as error:
        detail = (
            f"connections cannot be reset here ({error.strerror}): of a volume that this node has "
            "to give up, bytes that wait in its kernel may still be sent"
        )
        advice = "give the service CAP_NET_ADMIN, and the node a kernel with INET_DIAG_DESTROY"
        yield Finding(Level.WARNING, subject, detail, advice)
