"""Creating an object exactly once, also when replies are lost.

The reply to a conditional PUT may be lost after the object was made; the repetition then says
"taken". So every body carries something that only its maker knows (a put-id), and whoever is told
"taken" or nothing at all reads back what is there.
"""

from dataclasses import dataclass

from backends.errors import Conflict, NotFound, Unavailable
from backends.stores.base import Store


@dataclass(frozen=True)
class Taken:
    """Another body stands at the key, and will for ever."""

    body: bytes


def create(store: Store, key: str, body: bytes) -> Taken | None:
    """Make the object; None when `body` stands there, by this call or an earlier one.

    Unavailable when that is not known: call again. `body` must be unique to its maker. The caller
    checks a body that is not its own: it may have been spoiled on its way.
    """
    try:
        store.put_if_absent(key, body)
    except (Conflict, Unavailable):
        return _read_back(store, key, body)
    return None


def _read_back(store: Store, key: str, body: bytes) -> Taken | None:
    try:
        found = store.get(key)
    except NotFound:
        raise Unavailable(f"it is not known whether object {key} was made; try again") from None
    return None if found == body else Taken(found)
