"""The chain of records: which one may come next, and who may write it.

One disk has one history. A record belongs to it when it stands in the next free slot, holds the
hash of the record before, and its epoch is not lower than any before it.
"""

from dataclasses import dataclass

from backends.disk.core.commit import GENESIS, Commit, Kind
from backends.errors import Damaged


@dataclass(frozen=True)
class Owner:
    """Who writes: a node, in a session, under an epoch."""

    epoch: int
    session: bytes
    node: str

    def wrote(self, last: "Held") -> bool:
        """Whether this owner made the last record of a history."""
        return (last.epoch, last.session) == (self.epoch, self.session)


@dataclass(frozen=True)
class Held:
    """One who held the disk. `upto`: how far the local log of that session is in the history."""

    epoch: int
    session: bytes
    node: str
    upto: int


_HOLDERS = 64


@dataclass(frozen=True)
class Tail:
    """The end of a history."""

    seq: int = 0
    hash: bytes = GENESIS
    holders: tuple[Held, ...] = ()
    """The last one who wrote data, and those who took the disk over since and wrote none yet."""

    @property
    def last(self) -> Held | None:
        """Who wrote the last record."""
        return self.holders[-1] if self.holders else None

    def after(self, commit: Commit) -> "Tail":
        """The tail once `commit` is part. Damaged if it cannot be."""
        name = f"log record {commit.seq} of {commit.uuid}"
        if commit.seq != self.seq + 1 or commit.previous != self.hash:
            raise Damaged(f"{name} does not continue its chain")
        last = self.last
        if last and commit.epoch < last.epoch:
            raise Damaged(f"{name} was written under epoch {commit.epoch}, after {last.epoch}")
        held = Held(commit.epoch, commit.session, commit.node, commit.upto)
        if commit.kind is Kind.FENCE:
            if last and commit.epoch == last.epoch:
                raise Damaged(f"{name} is a second fence of epoch {commit.epoch}")
            return Tail(commit.seq, commit.hash(), (*self.holders, held)[-_HOLDERS:])
        if last is None or (last.epoch, last.session) != (commit.epoch, commit.session):
            raise Damaged(f"{name}: its writer made no fence")
        return Tail(commit.seq, commit.hash(), (held,))

    def continues(self, epoch: int, session: bytes, node: str) -> Held | None:
        """The holder of that session, if nobody but `node` has had the disk since: then what its
        local log holds behind `upto` still follows this history."""
        for place, held in enumerate(self.holders):
            if (held.epoch, held.session) == (epoch, session):
                since = self.holders[place:]
                return held if all(one.node == node for one in since) else None
        return None
