"""What a disk that is open says of itself, in the words of Status and of `kedge doctor`. Pure."""

from collections.abc import Mapping
from typing import Any

from backends.base import Finding, Level
from backends.options import Size

_LATE = 3.0
"""So many times its rpo may something wait for the store before that is called late."""
_LEAST_LATE = 10.0


def shown(lag: Mapping[str, Any]) -> dict[str, str]:
    """Facts for Status, from the answer to `lag`."""
    facts = {
        "unsent": f"{Size(lag['bytes'])} since {lag['seconds']:g} s" if lag["seconds"] else "0",
        "last_commit": f"record {lag['commit']} under epoch {lag['epoch']}",
        "cached": f"{Size(lag['cached'])} ({lag['hits']} of {lag['hits'] + lag['misses']} reads)",
        "stored": f"{Size(lag['stored'])} in {lag['objects']} objects",
        "requests_per_minute": str(lag["requests"]),
    }
    if lag.get("flushes_wait"):
        facts["flushes_wait"] = (
            f"for the bucket since {lag['flushes_wait']:g} s: what is not in it is older than "
            "rpo_limit"
        )
    if lag.get("reads_wait"):
        seconds = f"{lag['reads_wait']:g} s"
        facts["reads_wait"] = f"for the bucket to say whose the volume is, since {seconds}"
    if lag["damaged"]:
        facts["damaged"] = "; ".join(lag["damaged"])
    if lag["trouble"]:
        facts["trouble"] = lag["trouble"]
    if lag.get("taken_over"):
        facts["taken_over"] = lag["taken_over"]
    return facts


def judged(name: str, lag: Mapping[str, Any], rpo: float) -> list[Finding]:
    """What is wrong with a volume that is open here; empty when nothing is."""
    subject, found = f"volume {name}", []
    for key in lag["damaged"]:
        found.append(
            Finding(
                *(Level.ERROR, subject, f"{key}; what it holds reads as an I/O error"),
                f"kedge fsck {name} tells which bytes; restore the object from a copy or an older "
                "version of the bucket, or the volume from a snapshot",
            )
        )
    if lag.get("flushes_wait"):
        found.append(
            Finding(
                *(Level.WARNING, subject),
                f"fsync has waited {lag['flushes_wait']:g} s for the bucket: what is not in it is "
                "older than the volume's rpo_limit",
                "make the bucket reachable, or faster; nothing fails meanwhile",
            )
        )
    if lag.get("reads_wait"):
        found.append(
            Finding(
                *(Level.WARNING, subject),
                f"a read has waited {lag['reads_wait']:g} s for the bucket to say whose the volume "
                "is (reads=strict)",
                "make the bucket reachable, or faster; nothing fails meanwhile",
            )
        )
    if lag["seconds"] > max(_LEAST_LATE, _LATE * rpo):
        why = f": {lag['trouble']}" if lag["trouble"] else ""
        found.append(
            Finding(
                *(Level.WARNING, subject),
                f"{Size(lag['bytes'])} have waited {lag['seconds']:g} s for the bucket{why}",
                "nothing is lost on this node meanwhile; make the bucket reachable, or faster",
            )
        )
    elif lag["trouble"]:
        found.append(Finding(Level.WARNING, subject, lag["trouble"], "see the log"))
    return found
