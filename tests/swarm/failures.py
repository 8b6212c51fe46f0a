"""What happens to the node whose database is being written, and whether it has to move for it.

Each failure is a function that makes it happen; it returns when the database may be looked for, and
returns what undoes it. `moved()`: rows are confirmed elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.storage import Storage
from tests.lab.swarm import Member, Swarm

CUT = 8.0
"""Seconds without network: Swarm gives a node up after three, and its lease ends after six."""
FROZEN = 18.0
"""Three ttls."""
PAUSED = 2.0
"""Less than a lease has left at any time. A Swarm under load may give the node up meanwhile."""

Undo = Callable[[], None]
Happens = Callable[[Swarm, Member, Callable[[], bool]], Undo]


@dataclass(frozen=True)
class Failure:
    """`moves`: the database comes up elsewhere; else it goes on where it is, unless it `may_move`.
    `planned`: the node has been asked, so nothing may be lost on any storage."""

    name: str
    happens: Happens
    moves: bool = True
    may_move: bool = False
    planned: bool = False

    @property
    def loses_the_node(self) -> bool:
        """Whether what only that node had may be lost, as far as the storage says so."""
        return self.moves and not self.planned


def nothing() -> None:
    """There is nothing to undo."""


def drained(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """Planned: Swarm stops the service here and starts it there."""
    swarm.drain(member)
    return lambda: swarm.activate(member)


def killed(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """Power off: every process of the node at once."""
    member.die()
    return member.revive


def cut_off(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """The cable is out while the container goes on. Where the storage is behind the same cable,
    the database comes up elsewhere meanwhile; else the node lives on in its lease, and hands over
    when Swarm reaches it again."""
    member.cut()
    try:
        if swarm.storage.by_network:
            swarm.wait(moved, "rows elsewhere while a node is cut off", seconds=90)
        else:
            time.sleep(CUT)
    finally:
        member.join()
    return nothing


def frozen(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """Every process of the node stands still, and goes on as if nothing had been."""
    member.freeze()
    try:
        time.sleep(FROZEN)
        swarm.wait(moved, "rows elsewhere while a node is frozen", seconds=90)
    finally:
        member.thaw()
    return nothing


def paused(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """Every process of the node stands still for less than its lease has left."""
    member.freeze()
    try:
        time.sleep(PAUSED)
    finally:
        member.thaw()
    return nothing


def service_killed(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """kill -9 of kedge on the node; the volume and the database go on without it."""
    member.node.kill_service()
    return nothing


def commander_restarted(swarm: Swarm, member: Member, moved: Callable[[], bool]) -> Undo:
    """The only manager's engine; nobody commands meanwhile. Swarm 20.10 may give up a worker for
    good that reports to the new manager just when its patience ends (about one restart in thirty
    on a machine under load); then the worker's engine is restarted, as an operator would."""
    swarm.manager.node.engine.restart()

    def remind() -> None:
        try:
            swarm.wait(swarm.workers_ready, "every worker is known again", seconds=20)
        except TimeoutError:
            for lost in swarm.lost():
                lost.node.engine.restart()

    return remind


def failures(storage: Storage, *, chaos: bool) -> list[Failure]:
    """Those under which the storage promises that the rows stay. Restarts of the only manager are
    for `chaos`; `test_moves.py` has one."""
    found = [
        Failure("drained", drained, planned=True),
        Failure("killed", killed),
        Failure("cut off", cut_off),
        Failure("service killed", service_killed, moves=False),
    ]
    if chaos:
        found.append(Failure("manager restarted", commander_restarted, moves=False))
    if storage.fencing == "store":
        found.append(Failure("frozen", frozen))
    if storage.fencing == "node":
        found.append(Failure("paused", paused, moves=False, may_move=True))
    return found
