"""Nodes whose time and luck a test decides, for the contract of claims."""

from collections.abc import Callable, Collection

from backends.claims import Claim, Claims
from backends.errors import Conflict, Unavailable
from backends.leases import Lease, LeaseWatch, Terms
from backends.records import Record, Records

TTL = 6.0
SOON = 0.1


class Time:
    """A monotonic clock that stands still unless told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        """Let so many seconds go by."""
        self.now += seconds


class Node:
    """One run of the service on one node."""

    started = 0

    def __init__(
        self, records: Records, name: str, clock: Time, own: Collection[str] = (), ttl: float = TTL
    ) -> None:
        self.records = records
        self.sessions = list(own)
        self.watch = LeaseWatch(records, clock)
        self.lease = Lease(
            records,
            name,
            self.watch,
            clock=clock,
            new_session=self._new_session,
            terms=Terms(ttl=ttl),
            own=own,
            remember=self.sessions.append,
        )
        self.claims = Claims(records, self.lease, lambda: "2026-01-02T03:04:05Z")
        self.name = name

    def _new_session(self) -> str:
        Node.started += 1
        return f"session-{Node.started}"

    def acquire(self, *, force: bool = False) -> Claim:
        """The claim on the one volume that these tests use."""
        return self.claims.acquire("u1", name="db", force=force)


class Ambiguous(Records):
    """Fails with Unavailable when told to; the write happens now, later, or never."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.fate = ""
        self.under_way: list[Callable[[], object]] = []
        self.reads = 0

    def arrive(self) -> None:
        """What was under way takes effect, as far as it still can."""
        for write in self.under_way:
            try:
                write()
            except Conflict:
                continue
        self.under_way.clear()

    def get(self, key: str) -> Record | None:
        self.reads += 1
        return self._records.get(key)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        return self._write(lambda: self._records.put(key, value, expected=expected))

    def delete(self, key: str, *, expected: str) -> None:
        self._records.delete(key, expected=expected)

    def keys(self, kind: str) -> list[str]:
        return self._records.keys(kind)

    def stamps(self, kind: str) -> dict[str, str]:
        return self._records.stamps(kind)

    def _write(self, write: Callable[[], Record]) -> Record:
        fate, self.fate = self.fate, ""
        if fate == "late":
            self.under_way.append(write)
        if fate in ("", "unheard"):
            written = write()
        if fate:
            raise Unavailable("no reply")
        return written
