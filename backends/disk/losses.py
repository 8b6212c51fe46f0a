"""What to say when a disk is taken over from a node that did not close it and is not there."""

from contextlib import suppress

from backends.disk.core import commit
from backends.disk.engine import Durability
from backends.disk.journal import Journal
from backends.errors import Unavailable
from backends.stores.base import Store


def told(journal: Journal, store: Store, node: str, after: int, durability: Durability) -> str:
    """In words: what may be missing that `node` had acknowledged, behind record `after`. How much
    that is, nobody here can know; how long at most it had to write it, the store's clock tells."""
    span = _span(journal, store, after)
    since = f", in the last {span:.0f} s before that at most" if span is not None else ""
    kept = "; no flush had confirmed it" if durability is Durability.STORE else ""
    return (
        f"taken over from node {node}, which did not close it: whatever it wrote behind "
        f"record {after}{since} is not here{kept}; if its disk comes back, `kedge orphans` there "
        "lists it"
    )


def _span(journal: Journal, store: Store, after: int) -> float | None:
    """Seconds by the store's clock between that record and the fence behind it."""
    log = f"{journal.prefix}log/"
    with suppress(Unavailable):
        found = {
            one.key: one.modified
            for one in store.list(log, after=journal.prefix + commit.log_key(after - 1))
        }
        keys = [journal.prefix + commit.log_key(seq) for seq in (after, after + 1)]
        if all(key in found for key in keys):
            return max(0.0, found[keys[1]] - found[keys[0]])
    return None
