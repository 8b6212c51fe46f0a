"""Kinds of runs: each puts its weight on what one family of mistakes needs to show itself."""

import random
from dataclasses import dataclass

DRIFT = 0.1


@dataclass(frozen=True)
class Flavour:
    """What a run is made of. Troubles and lengths are drawn from with equal chance."""

    machines: tuple[int, ...]
    volumes: tuple[int, ...]
    troubles: tuple[str, ...]
    lengths: tuple[tuple[float, float], ...]
    per_machine: tuple[int, ...]
    slow: tuple[float, ...]
    """Of so many requests and replies, each is on its way for seconds."""
    release: float
    """How often a volume is released after use."""
    writes: int
    """At most so many in one use."""
    opposed: bool = False
    """Clock rates at opposite ends of the bound."""
    troubled: int = 99
    """At most so many machines have troubles of their own."""
    eager: bool = False
    """Who does not have a volume asks for it without a break."""
    ttls: tuple[float, ...] = (6.0,)
    """Of each machine."""
    clones: float = 0.0
    forced: float = 0.0

    def rates(self, count: int, chance: random.Random) -> list[float]:
        """Clock rates within the bound, mostly at its edges."""
        edges = [1 - DRIFT, 1 + DRIFT]
        if self.opposed:
            chance.shuffle(edges)
            return [edges[n % 2] for n in range(count)]
        return [chance.choice([*edges, chance.uniform(*edges)]) for _ in range(count)]


ANYTHING = Flavour(
    machines=(2, 3),
    volumes=(1, 2),
    troubles=("stop", "stop", "cut", "cut", "flaky", "crash", "crash", "reboot"),
    lengths=((0.1, 3.0), (5.0, 8.0), (3.0, 14.0)),
    per_machine=(0, 1, 2, 3),
    slow=(0.0, 0.03, 0.15),
    release=0.7,
    writes=8,
    ttls=(6.0, 9.0),
    clones=0.3,
    forced=0.2,
)
"""Everything happens, nothing often."""

DUEL = Flavour(
    machines=(2,),
    volumes=(1,),
    troubles=("cut holder", "cut holder", "cut", "stop"),
    lengths=((5.0, 6.5), (5.5, 9.0)),
    per_machine=(1, 2),
    slow=(0.15,),
    release=0.0,
    writes=8,
    ttls=(6.0, 9.0),
    eager=True,
)
"""Two machines want one volume all the time and never let go of it; leases decide."""

HANDOVER = Flavour(
    machines=(2,),
    volumes=(1,),
    troubles=("flaky",),
    lengths=((18.0, 20.0),),
    per_machine=(1,),
    troubled=1,
    slow=(0.03,),
    release=1.0,
    writes=6,
)
"""A volume goes to and fro while replies get lost and writes arrive late."""

RETURN = Flavour(
    machines=(2,),
    volumes=(2,),
    troubles=("return",),
    lengths=((4.5, 7.5),),
    per_machine=(1, 2),
    slow=(0.0,),
    release=0.0,
    writes=8,
    eager=True,
)
"""A holder comes back just when others, to whom the store is slow, take it for dead."""

FADE = Flavour(
    machines=(2,),
    volumes=(1,),
    troubles=("slow holder", "slow others", "flaky holder"),
    lengths=((6.0, 9.0),),
    per_machine=(1,),
    slow=(0.0,),
    release=0.0,
    writes=8,
    opposed=True,
    eager=True,
)
"""The store gets slow for the holder or the others, and then the holder is cut off from it."""

FLAVOURS = (ANYTHING, DUEL, HANDOVER, RETURN, FADE)
