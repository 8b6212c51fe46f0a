"""Node leases: which nodes live, judged without comparing any two clocks.

`nodes/<node>` = {session, counter, ttl, state}. A node rewrites its record, one record for all its
claims, every few seconds. Whoever has seen one version of it stand still for `ttl` seconds of its
own monotonic clock may *end* the lease: replace exactly that version by one that says `ended`.
So a stale reading, a slow listing or a long pause can never end the lease of a node that renewed,
and a node whose lease was ended learns it at its next renewal, because that fails for ever.

The holder counts from *before* it sent the renewal, the observer from *after* it first saw it, and
the holder's share of `ttl` is smaller by twice the clock drift: so the holder always stops
believing first.

The clock must count the time a machine is suspended (CLOCK_BOOTTIME), or a holder that was
suspended would go on believing.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace

from backends.errors import Claimed, Conflict, Damaged, Fenced, Invalid, Unavailable
from backends.records import Record, Records
from backends.typed import typed

KIND = "nodes"
FORMAT = 1
_FRESH = 1.5
"""Seconds after which a lease that has just moved is looked at again: it moves every two."""
_SELDOM = 10.0
"""Seconds between two looks at one lease, at most ..."""
_CALM = 16
"""... and at least this part of the time for which it has stood still."""


@dataclass(frozen=True)
class Terms:
    """How long things last, in seconds."""

    ttl: float = 6.0
    """After this long without renewal a node may be taken for dead. Each node promises its own."""
    renew: float = 2.0
    """Between two renewals."""
    margin: float = 0.5
    """What a holder needs to stop its writers: it stops believing this much earlier."""
    drift: float = 0.01
    """How far the rate of any node's monotonic clock may be off (1 % is 14 minutes a day)."""

    def __post_init__(self) -> None:
        if not 0 <= self.drift < 0.5 or self.renew <= 0 or self.margin < 0:
            raise Invalid("lease: renew must be positive, margin not negative, drift below 0.5")
        if self.trust < 2 * self.renew:
            raise Invalid(
                f"lease ttl={self.ttl:g} s leaves no room for a renewal to fail at "
                f"renew={self.renew:g} s; use a ttl of three times renew"
            )

    @property
    def trust(self) -> float:
        """For how long after the start of a renewal the holder may believe in it."""
        return self.ttl * (1 - self.drift) / (1 + self.drift) - self.margin


@dataclass(frozen=True)
class LeaseState:
    """What a lease record says."""

    session: str
    counter: int
    ttl: float
    ended: bool = False
    by: str = ""
    """The node that ended it, for people."""

    def encode(self) -> bytes:
        """The record's value."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def decode(cls, record: Record) -> "LeaseState":
        """Damaged when the value is not a lease of this format."""
        try:
            fields = json.loads(record.value)
            if fields.pop("format") != FORMAT:
                raise Damaged(f"{record.key} was written by a newer version; upgrade this node")
            lease = typed(cls(**fields))
            if not lease.ttl:
                raise ValueError("ttl is 0")
            return lease
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(
                f"{record.key} is not a lease: {error}; stop that node and remove the record"
            ) from error


class LeaseWatch:
    """Since when each node's lease stands still, as seen from here. Thread-safe."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: dict[str, tuple[str | None, float]] = {}
        self._stamps: dict[str, tuple[str | None, float]] = {}
        self._glanced: dict[str, float] = {}

    def look(self) -> None:
        """Look at all leases with one listing; call it in the background every second or so, and
        a takeover need not begin to wait when it is asked for."""
        for key, stamp in self._records.stamps(KIND).items():
            self._note(self._stamps, key.removeprefix(f"{KIND}/"), stamp)

    def glance(self, nodes: Iterable[str]) -> None:
        """As `look`, at the leases of a few nodes and with a read or two for each, where listing
        costs; less often at one that has just moved, or has long stood still. What is seen may be
        old by now; but it was there when it was seen, and `standing` counts from nothing else."""
        for node in nodes:
            seen, age = self._stamp(node)
            since = self._clock() - self._glanced.get(node, -_SELDOM)
            if seen and (age < _FRESH or since < min(_SELDOM, age / _CALM)):
                continue
            self._glanced[node] = self._clock()
            self._note(self._stamps, node, self._records.glance(f"{KIND}/{node}", seen))

    def standing(self, node: str, version: str | None) -> float:
        """For how many seconds the lease that was just read at `version` (None: absent) has been
        so. Where stamps are versions, or lists are as fresh as reads, background looks count."""
        age = self._note(self._versions, node, version)
        stamp, longer = self._stamp(node)
        if stamp is None or longer <= age:
            return age
        if stamp == version:
            return longer
        self.look()
        again, longer = self._stamp(node)
        return longer if again == stamp else age

    def age(self, node: str) -> float | None:
        """Seconds since the lease was last seen to change, for people; None when never seen."""
        with self._lock:
            seen = self._stamps.get(node) or self._versions.get(node)
        return self._clock() - seen[1] if seen else None

    def _note(
        self, table: dict[str, tuple[str | None, float]], node: str, mark: str | None
    ) -> float:
        """Since when `mark`, which was just read, is known. Counted from after the first reading:
        whoever wrote it began before that."""
        now = self._clock()
        with self._lock:
            before = table.get(node)
            if before is None or before[0] != mark:
                table[node] = (mark, now)
                return 0.0
            return now - before[1]

    def _stamp(self, node: str) -> tuple[str | None, float]:
        with self._lock:
            stamp, since = self._stamps.get(node, (None, 0.0))
        return stamp, self._clock() - since


class Lease:
    """This node's own lease. Thread-safe; `valid_until` is read without waiting.

    `own`: sessions that ran on this machine *since it booted*, as the ledger remembers them. Such
    a predecessor is this machine: its lease is taken over at once. After a reboot the ttl is
    waited for, because a disk may have been cloned while the original runs on.
    `remember` is called with each new session before it is used, and must make it durable.
    """

    def __init__(
        self,
        records: Records,
        node: str,
        watch: LeaseWatch,
        *,
        clock: Callable[[], float],
        new_session: Callable[[], str],
        terms: Terms | None = None,
        own: Collection[str] = (),
        remember: Callable[[str], None] = lambda session: None,
    ) -> None:
        self.node = node
        self.watch = watch
        self.terms = terms or Terms()
        self.valid_until = float("-inf")
        """On `clock`: until then no other node may write what this session has claimed."""
        self.session: str | None = None
        """The session that claims are held under; None before `hold` and after a loss."""
        self._records = records
        self._key = f"{KIND}/{node}"
        self._clock = clock
        self._new_session = new_session
        self._own = set(own)
        self._remember = remember
        self._lock = threading.Lock()
        self._version: str | None = None
        self._foreign: str | None = None
        self._counter = 0

    def remaining(self) -> float:
        """Seconds for which writing is still allowed; negative when it is not."""
        return self.valid_until - self._clock()

    def ran_here(self, session: str) -> bool:
        """Whether it was a session of this machine since it booted."""
        return session in self._own

    def hold(self) -> str:
        """Have a session whose lease is fresh, opening or renewing it as needed; return it.

        Fenced when the lease was ended (the next call opens a new session). Claimed when another
        machine lives under this node's name, or may: then try again after the ttl. Unavailable.
        """
        with self._lock:
            session = self.session or self._open()
            if self.remaining() < self.terms.trust - self.terms.renew:
                self._renew(session)
            return session

    def due(self) -> bool:
        """Whether it is time to renew; also while there is nothing to renew."""
        return self.remaining() < self.terms.trust - self.terms.renew * 0.9

    def renew(self) -> None:
        """Renew if there is a session. Raises Fenced, once, when the lease was ended; Unavailable
        leaves `valid_until` as it was and may be repeated at once."""
        with self._lock:
            if self.session is not None:
                self._renew(self.session)

    def _renew(self, session: str) -> None:
        for _ in range(2):
            started = self._clock()
            try:
                written = self._write(session, self._version)
            except Conflict:
                self._version = self._still_mine(session)
                continue
            self._version = written.version
            self.valid_until = started + self.terms.trust
            return
        raise Unavailable(f"the lease of node {self.node} could not be renewed; try again")

    def _write(self, session: str, expected: str | None) -> Record:
        """Until `valid_until` nobody else may end the lease, and so nobody writes it: a renewal
        that is answered by then cannot have come too late, whatever the store forgets."""
        self._counter += 1
        state = LeaseState(session, self._counter, self.terms.ttl).encode()
        if expected is None:
            return self._records.put(self._key, state, expected=None)
        return self._records.put_alone(
            self._key, state, expected=expected, alone=lambda: self.remaining() > 0
        )

    def _still_mine(self, session: str) -> str:
        """The version to renew from: that of an earlier renewal whose reply was lost. It is not
        believed in, because nobody knows when it was sent. Fenced when the lease was ended."""
        record = self._records.get(self._key)
        state = LeaseState.decode(record) if record else None
        if record is None or state is None or state.ended or state.session != session:
            self.session, self.valid_until = None, float("-inf")
            by = f" by node {state.by}" if state and state.by else ""
            raise Fenced(
                f"the lease of node {self.node} was ended{by}: it was not renewed in time, or "
                "another machine has this node's name"
            )
        return record.version

    def _open(self) -> str:
        record = self._records.get(self._key)
        if record is not None:
            self._check_free(record)
        session = self._new_session()
        self._remember(session)
        self._own.add(session)
        started = self._clock()
        try:
            written = self._write(session, record.version if record else None)
        except Conflict:
            raise Unavailable(f"the lease of node {self.node} changed meanwhile") from None
        self.session, self._version, self._foreign = session, written.version, None
        self.valid_until = started + self.terms.trust
        return session

    def _check_free(self, record: Record) -> None:
        """Claimed unless nobody else can live under this name."""
        state = LeaseState.decode(record)
        age = self.watch.standing(self.node, record.version)
        if state.ended or state.session in self._own or age >= state.ttl:
            return
        if self._foreign not in (None, record.version):
            raise Claimed(
                f"another machine renewed the lease of the node name {self.node!r} {age:.1f} s "
                "ago; give every node a name of its own",
                retry_after=state.ttl - age,
            )
        self._foreign = record.version
        raise Claimed(
            f"the node name {self.node!r} was in use by an earlier run or another machine; "
            f"it is free in {state.ttl - age:.1f} s unless that one still lives",
            retry_after=state.ttl - age,
        )


def end(records: Records, node: str, record: Record | None, *, by: str, ttl: float) -> None:
    """End the lease of a node that was watched standing still, at exactly the version watched.
    Conflict when it was renewed after all."""
    state = LeaseState.decode(record) if record else LeaseState("", 0, ttl)
    ended = replace(state, ended=True, by=by)
    records.put(f"{KIND}/{node}", ended.encode(), expected=record.version if record else None)
