"""What records are and what every store of them promises.

Volumes, claims and node leases are records. A key has exactly two segments, `kind/name`
(`volumes/db`, `claims/<uuid>`, `nodes/<node>`). A version is opaque and never repeats, so a writer
that was asleep for a year cannot mistake an old state for the present one.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from backends.errors import Invalid

MAX_VALUE = 64 * 1024
_KEY = re.compile(r"[a-z][a-z0-9-]*/[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")


@dataclass(frozen=True)
class Record:
    """One value as it was read or written. `version` is what `put` expects next."""

    key: str
    value: bytes
    version: str


class Records(ABC):
    """Every method raises Unavailable when the storage cannot be asked; that implies nothing.

    A lost reply is never reported as success or as Conflict unless it is known to be one: an
    implementation reads back until it knows, or raises Unavailable (then the write may or may
    not have happened, and the caller reads again).
    """

    @abstractmethod
    def get(self, key: str) -> Record | None:
        """The current record, or None when there certainly is none. Linearisable."""

    @abstractmethod
    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """Write `value` if the current version is `expected` (None: the key must be absent).

        Raises Conflict, with nothing written, when it is not. Durable when it returns. At most
        one of any number of concurrent callers with the same `expected` succeeds.
        """

    def put_alone(
        self, key: str, value: bytes, *, expected: str, alone: Callable[[], bool]
    ) -> Record:
        """As `put`, for who knows that nobody else writes this key while `alone()` is true, which
        is asked once the store has answered: what it costs to be sure need not be paid then."""
        return self.put(key, value, expected=expected)

    @abstractmethod
    def delete(self, key: str, *, expected: str) -> None:
        """Remove the key if its version is `expected`; Conflict when it has another or is gone."""

    def glance(self, key: str, seen: str | None) -> str | None:
        """A version that the key has or had a moment ago, `seen` if no other was noticed; None:
        it is absent. For watching one record where looking costs: nothing is missed for long, but
        only `get` tells what is current."""
        record = self.get(key)
        return record.version if record else None

    @abstractmethod
    def keys(self, kind: str) -> list[str]:
        """The present keys of one kind, sorted. No snapshot: concurrent changes may be missed."""

    def stamps(self, kind: str) -> dict[str, str]:
        """The present keys of one kind, each with a stamp that changes whenever its record does,
        so that many records can be watched by reading only those that changed. As fresh as
        `keys`. A store whose listing already tells (an ETag, a version in a file name) overrides
        this, which reads every record."""
        found = {key: self.get(key) for key in self.keys(kind)}
        return {key: record.version for key, record in found.items() if record is not None}


def checked_key(key: str) -> str:
    """Return `key` if it is well-formed, else raise Invalid. Implementations call this first."""
    if not is_key(key):
        raise Invalid(f"record key {key[:80]!r} is not of the form kind/name")
    return key


def is_key(text: str) -> bool:
    """Whether `text` is a well-formed key; what a listing shows may hold foreign names."""
    return bool(_KEY.fullmatch(text))


def checked_value(key: str, value: bytes) -> bytes:
    """Return `value` if it is small enough for a record, else raise Invalid."""
    if len(value) > MAX_VALUE:
        raise Invalid(f"record {key} would have {len(value)} bytes; at most {MAX_VALUE} are kept")
    return value
