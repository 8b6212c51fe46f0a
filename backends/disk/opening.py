"""Opening a disk: take the head, find the end of the history, fence, bring back the local log.

1. head: a higher epoch, by compare-and-swap (the same process's successor keeps its own)
2. load the checkpoint, replay the records behind it
3. fence: create the next record; whoever is faster with an older epoch is taken over first
4. look at the head again: still ours
5. local log: what is not in the history follows it, if nobody else had the disk since;
   else it is an orphan, and kept
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from backends.disk.collection.collecting import GRACE, Collector
from backends.disk.collection.compaction import EXCESS, MANY, Compactor
from backends.disk.collection.sweeping import AGE, Sweeper
from backends.disk.core.coding import PLAIN, Coder
from backends.disk.core.exposure import Exposure
from backends.disk.core.head import CLAIM_SHIFT, Head, Heads, State, put_back
from backends.disk.core.history import Owner, Tail
from backends.disk.core.logformat import Entry
from backends.disk.core.overlay import SEAL_BLOCKS, Overlay
from backends.disk.core.tenure import Moment, Tenure
from backends.disk.engine import Disk, Durability, Parts
from backends.disk.journal import Journal
from backends.disk.log.locallog import Binding, Files, LocalLog, binding_of, has_failed, new_log
from backends.disk.reading.cache import Cache
from backends.disk.reading.reader import Reader
from backends.disk.writing.checkpointing import Checkpointer
from backends.disk.writing.shipping import Shipper
from backends.errors import Fenced
from backends.stores.base import Store


@dataclass(frozen=True)
class Place:
    """Where a disk is opened, and all that it may ask of the world."""

    store: Store
    heads: Heads
    files: Files
    orphan: Callable[[Binding], Files]
    """Put the files aside, where they are kept, and give new ones."""
    cache: Callable[[], Cache]
    node: str
    boot: str
    """Changes when the machine boots."""
    new_id: Callable[[], bytes]
    """16 random bytes."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    wait: Callable[[int], None]
    """Before the n-th repetition of what the store could not answer."""
    moment: Callable[[], Moment] = lambda: (0.0,)
    """For strict reads: clocks that tell how long the machine has slept, too."""
    pool: Executor | None = None
    """For uploads; `readers` for what a read waits for, `background` for what nobody does; `early`
    for parts of the map that may be touched soon."""
    readers: Executor | None = None
    background: Executor | None = None
    early: Executor | None = None
    coder: Coder = PLAIN
    last: Store | None = None
    """The store for what nobody waits for, where that makes a difference."""
    strained: Callable[[], bool] = lambda: False
    """Whether the store refuses requests because there are too many."""


@dataclass(frozen=True)
class Terms:
    """How a disk is opened."""

    durability: Durability = Durability.LOCAL
    rpo_limit: float = 0.0
    """Seconds for which a local flush confirms what is on this node alone; 0: without end."""
    trust: float = 0.0
    """Seconds for which a read goes by what the store last said of the owner; 0: for ever."""
    segment: int = 32 << 20
    """Bytes of a file of the local log."""
    segments: int = 32
    """How many files there may be: the bound of what is not in the store."""
    batch: int = SEAL_BLOCKS
    """Blocks after which a record is closed: a backlog is sent as several."""
    grace: float = GRACE
    excess: float = EXCESS
    many: int = MANY
    stray_age: float = AGE
    connection: int = 0
    """The mount that this disk serves; the same when the server of that mount is replaced."""


@dataclass(frozen=True)
class _Recovered:
    log: LocalLog
    entries: list[Entry]
    upto: int = 0
    """Entries up to this one are in the history."""


def open_disk(
    place: Place, uuid: str, *, claim: int, terms: Terms, known: Head | None = None
) -> Disk:
    """Take the disk over and bring it up. `known`: the head as it was a moment ago, if somebody
    has just read it. Fenced, NotFound, Damaged, HostError, Unavailable."""
    binding = binding_of(place.files, uuid)
    head, owner = _take(place, uuid, claim, binding, known)
    journal = Journal(
        *(place.store, head, owner),
        new_id=place.new_id,
        wait=place.wait,
        coder=place.coder,
        pool=place.readers,
        tenure=Tenure(terms.trust, place.moment, place.clock),
    )
    journal.load(head)
    if place.early and not (binding and binding.session == owner.session.hex()):
        journal.fetch_early(place.early)
    journal.replay()
    upto = _fence(journal, owner, binding)
    head = _still_ours(place, journal)
    found = _recover(place, journal, binding, upto, terms)
    parts = _assembled(place, journal, found, head, terms)
    if known and known.state is State.ATTACHED and upto is None:
        parts = replace(parts, lost_after=journal.fence_seq - 1)
    return Disk(parts, durability=terms.durability, connection=terms.connection, clock=place.clock)


def _take(
    place: Place, uuid: str, claim: int, binding: Binding | None, known: Head | None
) -> tuple[Head, Owner]:
    """A new session, unless this is the successor of a process that held the disk until now: then
    the head says already what it has to, or is found to have changed before anything is served.
    Also a new one when the local log has failed: a late record of the old session could tell of
    entries that are lost here, and whose numbers others will have."""
    session = place.new_id()
    if binding:
        head = known or place.heads.read(uuid)
        _check_not_older(head, binding)
    if binding and binding.boot == place.boot and not has_failed(place.files):
        held = head.session == binding.session and head.state is State.ATTACHED
        if held and head.epoch >> CLAIM_SHIFT == claim:
            return head, Owner(head.epoch, bytes.fromhex(head.session), place.node)
    head = place.heads.take(uuid, claim=claim, session=session, node=place.node)
    return head, Owner(head.epoch, session, place.node)


def _check_not_older(head: Head, binding: Binding) -> None:
    """Epochs only rise. Damaged when this node remembers a higher one than the head has: then it
    had the disk in a future that the bucket has forgotten."""
    if binding.epoch > head.epoch:
        raise put_back(head, binding.epoch)


def _fence(journal: Journal, owner: Owner, binding: Binding | None) -> int | None:
    """Up to where the local log is in the history; None when it does not continue it."""
    reached: list[int | None] = [None]

    def upto(tail: Tail) -> int:
        held = None
        if binding:
            session = bytes.fromhex(binding.session)
            held = tail.continues(binding.epoch, session, owner.node)
        reached[0] = held.upto if held else None
        return reached[0] or 0

    last = journal.tail.last
    if last and owner.wrote(last):
        upto(journal.tail)
    else:
        journal.fence(upto)
    return reached[0]


def _reached(journal: Journal, binding: Binding) -> int:
    """How far a log that the history has passed by is in it, as far as its end still tells."""
    who = (binding.epoch, binding.session)
    return max(
        (one.upto for one in journal.tail.holders if (one.epoch, one.session.hex()) == who),
        default=0,
    )


def _still_ours(place: Place, journal: Journal) -> Head:
    head = journal.patiently(lambda: place.heads.read(journal.uuid))
    if not head.owned_by(journal.owner):
        raise Fenced(f"disk {journal.uuid} was taken by node {head.node} meanwhile")
    return head


def _recover(
    place: Place, journal: Journal, binding: Binding | None, upto: int | None, terms: Terms
) -> _Recovered:
    owner = journal.owner
    fresh = Binding(
        uuid=journal.uuid,
        log=place.new_id().hex(),
        epoch=owner.epoch,
        session=owner.session.hex(),
        node=owner.node,
        boot=place.boot,
        segment=terms.segment,
    )
    if binding is None:
        return _Recovered(new_log(place.files, fresh, terms.segments), [])
    log = LocalLog(place.files, binding, terms.segments)
    if upto is None:
        kept = log.holds_unsent(_reached(journal, binding))
        log.close()
        files = place.orphan(binding) if kept else place.files
        return _Recovered(new_log(files, fresh, terms.segments), [])
    entries = log.recover(upto, boot=place.boot)
    if log.seq < upto:
        log.close()
        return _Recovered(new_log(place.files, fresh, terms.segments, seq=upto), [])
    now = replace(fresh, log=binding.log, segment=binding.segment)
    if now != binding:
        log.rebind(now)
    log.release(upto)  # nobody else will, if there is nothing to ship: a write would wait for ever
    return _Recovered(log, entries, upto)


def _assembled(
    place: Place, journal: Journal, found: _Recovered, head: Head, terms: Terms
) -> Parts:
    found.log.reserve()
    overlay, cache = Overlay(seal_blocks=terms.batch), place.cache()
    last = place.last or place.store
    overlay.inherit((one for one in found.entries if one.seq > found.upto), place.clock())
    collector = Collector(
        *(journal, place.heads, last),
        clock=place.clock,
        new_id=place.new_id,
        grace=terms.grace,
    )
    collector.doom(head)
    reader = Reader(
        *(place.store, journal.prefix, cache, place.wait, place.coder),
        *(place.readers, place.background, last),
    )
    shipper = Shipper(journal, found.log, cache, place.pool, place.new_id)
    return Parts(
        journal=journal,
        tenure=journal.tenure,
        log=found.log,
        overlay=overlay,
        cache=cache,
        reader=reader,
        shipper=shipper,
        checkpointer=Checkpointer(journal, place.heads, new_id=place.new_id, pool=place.pool),
        collector=collector,
        compactor=Compactor(journal, reader, shipper, excess=terms.excess, many=terms.many),
        sweeper=Sweeper(journal, last, age=terms.stray_age),
        exposure=Exposure(terms.rpo_limit, clock=place.clock, found=overlay.seq if overlay else 0),
        strained=place.strained,
        replayed=frozenset(
            entry.unique for entry in found.entries if entry.connection == terms.connection
        ),
    )
