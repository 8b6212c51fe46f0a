"""Does this store keep conditional writes? Asked by trying, before anything depends on it.

Stores that ignore the condition answer 200 to everybody; stores with a race answer right to one
client and wrong to many. Both lose data in silence, so both are looked for, on keys of the probe's
own that are deleted afterwards. A single-process stand-in passes every race: the probe can prove
that a store lies, never that it does not.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from backends.errors import Conflict, NotFound, Unavailable
from backends.stores.base import Store
from backends.stores.settled import create

RACERS = 32


@dataclass(frozen=True)
class Verdict:
    """What was found. `faults` is empty when nothing was."""

    faults: tuple[str, ...]

    @property
    def conditional(self) -> bool:
        """Whether creation was refused to all but one, every time."""
        return not self.faults


def probe(store: Store, nonce: Callable[[], str], races: int = 2) -> Verdict:
    """Try the store out below `probe/`. Unavailable when it cannot be asked."""
    faults = [*_in_sequence(store, nonce())]
    if not faults:
        for _ in range(races):
            faults += _race(store, nonce())
    return Verdict(tuple(dict.fromkeys(faults)))


def _in_sequence(store: Store, nonce: str) -> list[str]:
    key, faults = f"probe/{nonce}", []
    try:
        if create(store, key, b"first") is not None:
            return ["a new key was reported as taken"]
        if store.get(key) != b"first":
            faults.append("a read right after a write did not return it")
        if [found.key for found in store.list(key)] != [key]:
            faults.append("a listing right after a write did not show it")
        if store.get_range(key, 1, 3) != b"irs":
            faults.append("a part of an object was not returned as asked")
        try:
            store.put_if_absent(key, b"second")
            faults.append("a conditional write (If-None-Match: *) to an existing key succeeded")
        except Conflict:
            if store.get(key) != b"first":
                faults.append("a conditional write was refused and yet took effect")
    finally:
        with suppress(Unavailable):
            store.delete(key)
    with suppress(NotFound):
        store.get(key)
        faults.append("an object could be read after it was deleted")
    return faults


def _race(store: Store, nonce: str) -> list[str]:
    """Many creators at once: exactly one may be told that it won, and its body must stay."""
    key = f"probe/{nonce}"

    def attempt(number: int) -> bytes | None:
        body = b"racer %d" % number
        try:
            store.put_if_absent(key, body)
        except (Conflict, Unavailable):
            return None
        return body

    try:
        with ThreadPoolExecutor(RACERS) as pool:
            won = [body for body in pool.map(attempt, range(RACERS)) if body is not None]
        if len(won) > 1:
            return [f"{len(won)} of {RACERS} clients that raced to make one key were told they won"]
        if won and store.get(key) != won[0]:
            return ["the winner of a race to make one key was replaced afterwards"]
        return []
    finally:
        with suppress(Unavailable):
            store.delete(key)
