"""What the model of claims knows: one volume, a few nodes, a store, a clock that ticks.

Versions of records never repeat, so the only thing that matters about a remembered version is
whether it *fits*: whether the store still has it. Sessions likewise: the one a node has NOW, an
EARLIER one of this boot, one of the PAST before a reboot. So nothing in a state grows without end
but epochs, which are bounded.
"""

from typing import Any, NamedTuple

NOBODY = -1
NONE, NOW, EARLIER, PAST = "none", "now", "earlier", "past"


class Claim(NamedTuple):
    """The record of the volume's claim."""

    epoch: int
    node: int
    session: str
    held: bool


class Lease(NamedTuple):
    """The record of a node's lease; session NONE when there is none yet. `still`: for how many
    ticks it has been as it is. Nobody can have watched it for longer; that everybody has watched
    it for so long is the worst that can be."""

    session: str
    ended: bool
    still: int = 0


class Renewal(NamedTuple):
    """A write of the own lease that was sent. `age`: ticks since, which is what is believed of."""

    opens: bool
    arrived: bool
    fits: bool
    """Before it arrives: what it expects is there. After: what it wrote is still there."""
    age: int


class Job(NamedTuple):
    """A claim being acquired or released, between two requests. `fits`: the claim as it was read;
    `lease_fits`: the lease of `holder` as it was read."""

    doing: str
    epoch: int = 0
    fits: bool = True
    holder: int = NOBODY
    lease_fits: bool = True


class Writer(NamedTuple):
    """What writes the volume on a node, and outlives the service there. For `until` more ticks it
    believes that it may."""

    epoch: int
    session: str
    until: int


class Node(NamedTuple):
    """A machine. `trust`: ticks for which it believes in its lease, -1 without a session."""

    trust: int = -1
    knows: bool = False
    """Its idea of its own lease's version fits."""
    renewal: Renewal | None = None
    job: Job | None = None
    writer: Writer | None = None


class Late(NamedTuple):
    """A write whose sender gave up: it may take effect at any time, if what it expects still fits
    (else it is forgotten). Of the claim, or of the lease of `node`."""

    node: int
    lease: Lease | None = None
    claim: Claim | None = None


class Left(NamedTuple):
    """What may still go wrong."""

    crashes: int
    reboots: int
    faults: int


class State(NamedTuple):
    """Everything. `floor`: the storage refuses writers of a lower epoch."""

    claim: Claim
    floor: int
    leases: tuple[Lease, ...]
    nodes: tuple[Node, ...]
    late: frozenset[Late]
    left: Left

    def with_node(self, number: int, **changes: Any) -> "State":
        """One node changed."""
        node = self.nodes[number]._replace(**changes)
        return self._replace(nodes=(*self.nodes[:number], node, *self.nodes[number + 1 :]))

    def with_claim(self, claim: Claim) -> "State":
        """The claim written: nothing that was read of it before fits any more."""
        nodes = tuple(
            node._replace(job=node.job._replace(fits=False)) if node.job else node
            for node in self.nodes
        )
        late = frozenset(write for write in self.late if write.claim is None)
        return self._replace(claim=claim, nodes=nodes, late=late)

    def with_lease(self, number: int, lease: Lease) -> "State":
        """The lease of a node written, likewise."""
        nodes = []
        for at, node in enumerate(self.nodes):
            if node.job and node.job.holder == number:
                node = node._replace(job=node.job._replace(lease_fits=False))
            if at == number:
                renewal = node.renewal._replace(fits=False) if node.renewal else None
                node = node._replace(knows=False, renewal=renewal)
            nodes.append(node)
        late = frozenset(w for w in self.late if w.lease is None or w.node != number)
        leases = (*self.leases[:number], lease, *self.leases[number + 1 :])
        return self._replace(leases=leases, nodes=tuple(nodes), late=late)

    def renamed(self, number: int, sessions: dict[str, str]) -> "State":
        """The sessions of a node grow older: NOW is EARLIER, or all are of the PAST."""

        def older(session: str) -> str:
            return sessions.get(session, session)

        claim, lease = self.claim, self.leases[number]
        if claim.node == number:
            claim = claim._replace(session=older(claim.session))
        leases = (
            *self.leases[:number],
            lease._replace(session=older(lease.session)),
            *self.leases[number + 1 :],
        )
        late = frozenset(_older(write, older(_session(write)), number) for write in self.late)
        changed = self._replace(claim=claim, leases=leases, late=late)
        if writer := self.nodes[number].writer:
            writer = writer._replace(session=older(writer.session))
        return changed.with_node(number, writer=writer)


def _session(write: Late) -> str:
    return write.lease.session if write.lease else write.claim.session if write.claim else NONE


def _older(write: Late, session: str, number: int) -> Late:
    if write.node != number:
        return write
    return Late(
        number,
        write.lease._replace(session=session) if write.lease else None,
        write.claim._replace(session=session) if write.claim else None,
    )
