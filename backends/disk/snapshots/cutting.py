"""Going on without a record that is missing or damaged, for good: a new owner whose first
checkpoint is the disk as it was before that record.

Records that stand behind it are neither read by anybody any more nor removed: the new history goes
on behind all of them, after a fence, so that whoever still writes the old one is refused. What they
say, on top of the rest and without the lost one, is kept as a snapshot. That is no state which the
disk ever had; but all that can be found is in it.
"""

from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from backends.disk.core import commit, pins
from backends.disk.core.coding import Coder
from backends.disk.core.commit import GENESIS, Commit, Kind
from backends.disk.core.head import Head, Heads, Pin
from backends.disk.core.history import Held, Owner, Tail
from backends.disk.inspection.salvaging import Salvaged, replayed, salvage
from backends.disk.journal import Journal
from backends.disk.writing.checkpointing import Checkpointer
from backends.errors import Damaged, Fenced, Invalid, NotFound
from backends.inspection import Cut
from backends.stores.base import Store
from backends.stores.settled import create


@dataclass(frozen=True)
class Cutter:
    """Cuts one disk. `created`: the time, for people."""

    store: Store
    heads: Heads
    uuid: str
    node: str
    created: str
    new_id: Callable[[], bytes]
    wait: Callable[[int], None]
    coder: Coder

    def cut(self, before: int, *, claim: int) -> Cut:
        """Go back to before record `before`, which must be the first that is missing or damaged.
        Whoever has the disk open is fenced, so see to it that nobody has. Invalid when it is not,
        or nothing is: then nothing is changed. Fenced, Damaged, Unavailable: it was done or not,
        and may be tried again."""
        head = self.heads.read(self.uuid)
        _must_lack(salvage(self.store, head, self.coder, self.wait), before)
        session = self.new_id()
        head = self.heads.take(self.uuid, claim=claim, session=session, node=self.node)
        owner = Owner(head.epoch, session, self.node)
        fence = self._fence(self._loaded(head, owner))
        found = replayed(self._loaded(head, owner))
        try:
            _must_lack(found, before)
        except Invalid:
            self.heads.let_go(self.uuid, owner)
            raise
        later, lost = self._all(replayed(self._loaded(head, owner)), fence)
        past = found.view
        _count_on(past, later)
        past.tail = Tail(fence.seq, fence.hash(), (Held(owner.epoch, owner.session, "", 0),))
        kept = f"cut-{before}" if later.tail.seq >= before else ""
        step: Callable[[Head], Head] = lambda head: head  # noqa: E731
        if kept:
            later.tail = replace(later.tail, seq=fence.seq - 1)
            manifest = Checkpointer(later, self.heads, new_id=self.new_id).store()
            step = pins.kept(kept, Pin(fence.seq - 1, manifest, head.size, self.created))
        Checkpointer(past, self.heads, new_id=self.new_id).write(step)
        self.heads.let_go(self.uuid, owner)
        return Cut(before, kept, lost)

    def _loaded(self, head: Head, owner: Owner) -> Journal:
        new_id, wait = self.new_id, self.wait
        made = Journal(self.store, head, owner, new_id=new_id, wait=wait, coder=self.coder)
        made.load(head)
        return made

    def _fence(self, view: Journal) -> Commit:
        """Behind every record that anybody has made."""
        seq, put_id, owner = max((view.tail.seq, *view.behind())) + 1, self.new_id(), view.owner
        while True:
            last, number = _after(view, seq - 1)
            own = Commit(
                *(seq, Kind.FENCE, owner.epoch, owner.session, put_id, last, self.uuid, self.node),
                first_object=number,
                checksums=array("I"),
            )
            key, body = view.prefix + own.key, own.encode()
            taken = view.patiently(lambda key=key, body=body: create(self.store, key, body))  # type: ignore[misc]
            if taken is None:
                return own
            with suppress(Damaged):
                if commit.epoch_of(taken.body) > owner.epoch:
                    raise Fenced(f"disk {self.uuid} was taken by another node meanwhile")
            seq += 1

    def _all(self, found: Salvaged, fence: Commit) -> tuple[Journal, tuple[int, ...]]:
        """The disk with what every record says that can be read, and which cannot."""
        view, first = found.view, found.first_lost
        read = set(_applied(view, range(first, fence.seq)))
        return view, tuple(seq for seq in range(first, fence.seq) if seq not in read)


def _applied(view: Journal, seqs: range) -> Iterator[int]:
    for seq in seqs:
        with suppress(Damaged, NotFound):
            record = view.record(seq)
            if record.kind is Kind.FENCE:
                yield seq
                continue
            if record.first_object < view.map.next_object:
                continue
            for extent in record.extents:
                view.load_regions(extent.start, extent.count)
            view.map.next_object = record.first_object
            view.map.apply(record)
            view.tail = Tail(seq, record.hash(), view.tail.holders)
            yield seq


def _count_on(past: Journal, later: Journal) -> None:
    """Objects that are made from now on get numbers that none of what is kept has."""
    past.map.next_object = max(past.map.next_object, later.map.next_object)


def _after(view: Journal, seq: int) -> tuple[bytes, int]:
    """What the record behind that one has to say: its hash, and how objects are counted on."""
    if seq == view.tail.seq:
        return view.tail.hash, view.map.next_object
    with suppress(Damaged, NotFound):
        record = view.record(seq)
        holds = len(record.objects) + (record.kind is not Kind.FENCE)
        return record.hash(), record.first_object + holds
    return GENESIS, 0


def _must_lack(found: Salvaged, before: int) -> None:
    if not found.fault:
        raise Invalid(f"disk {found.view.uuid} lacks no record of its log; there is nothing to cut")
    if found.first_lost != before:
        raise Invalid(
            f"the first record that disk {found.view.uuid} lacks is {found.first_lost}, not "
            f"{before}: {found.fault}"
        )
