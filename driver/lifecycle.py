"""What one volume may be on this node, and how it gets there. Pure.

                     CREATE            CREATED
        ABSENT ──────────────> CREATING ─────────> DETACHED <──────────────┐
          ^                                        │      ^                │ DETACHED
          │ REMOVED                         ATTACH │      │ FAILED         │
          └──────── REMOVING <─────────────────────┤      │                │
                               REMOVE              └> ATTACHING         DETACHING
                                                          │                ^
                                                 ATTACHED v                │ DETACH (no holders)
                                     FENCED <───────── ATTACHED ───────────┘
                                              FENCE    HOLD, DROP

A *holder* is a Docker mount ID. Docker repeats an ID in two opposite cases: an additional
reference (`docker cp` on a running container) and a fresh start after it forgot to unmount. So
holders are counted per ID, and a count alone never decides that a volume is unused: the kernel is
asked who still has it mounted.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


class State(enum.Enum):
    """What this node has promised, or is about to do, for one volume."""

    ABSENT = "absent"
    CREATING = "creating"
    DETACHED = "detached"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    REMOVING = "removing"
    FENCED = "fenced"


class Event(enum.Enum):
    """An intent (written down before its effect) or an outcome (written down after it)."""

    CREATE = "create"
    CREATED = "created"
    ATTACH = "attach"
    ATTACHED = "attached"
    DETACH = "detach"
    DETACHED = "detached"
    REMOVE = "remove"
    REMOVED = "removed"
    FAILED = "failed"
    FENCE = "fence"


class Illegal(Exception):
    """The event has no meaning in this state: a fault in the caller, never in a request."""


_S, _E = State, Event

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (_S.ABSENT, _E.CREATE): _S.CREATING,
        (_S.CREATING, _E.CREATE): _S.CREATING,  # the repeat finishes what a crash left
        (_S.CREATING, _E.CREATED): _S.DETACHED,
        (_S.CREATING, _E.FAILED): _S.ABSENT,
        (_S.DETACHED, _E.ATTACH): _S.ATTACHING,
        (_S.ATTACHING, _E.ATTACH): _S.ATTACHING,
        (_S.ATTACHED, _E.ATTACH): _S.ATTACHING,  # the mount was lost behind our back
        (_S.DETACHING, _E.ATTACH): _S.ATTACHING,  # wanted again before it was let go
        (_S.ATTACHING, _E.ATTACHED): _S.ATTACHED,
        (_S.ATTACHING, _E.FAILED): _S.DETACHED,
        (_S.ATTACHED, _E.DETACH): _S.DETACHING,
        (_S.ATTACHING, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.DETACH): _S.DETACHING,
        (_S.FENCED, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.DETACHED): _S.DETACHED,
        (_S.DETACHED, _E.REMOVE): _S.REMOVING,
        (_S.REMOVING, _E.REMOVE): _S.REMOVING,
        (_S.CREATING, _E.REMOVE): _S.REMOVING,
        (_S.REMOVING, _E.REMOVED): _S.ABSENT,
        (_S.REMOVING, _E.FAILED): _S.DETACHED,  # and nothing was lost: the storage still has it
        (_S.ATTACHING, _E.FENCE): _S.FENCED,
        (_S.ATTACHED, _E.FENCE): _S.FENCED,
        (_S.DETACHING, _E.FENCE): _S.FENCED,
    }
)
"""Every legal step. Whatever is not here is Illegal; a test walks the whole product."""

INTENTS = frozenset({Event.CREATE, Event.ATTACH, Event.REMOVE})
"""Promises: written down or not begun. `DETACH` ends one, and needs no permission of a disk."""

HOLDABLE = frozenset({State.ATTACHING, State.ATTACHED, State.FENCED})
"""States in which somebody may hold the volume."""


@dataclass(frozen=True)
class Entry:
    """One volume on this node. `holders` maps a mount ID to how often it was mounted."""

    state: State
    holders: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def step(self, event: Event) -> "Entry":
        """The entry after `event`. Raises Illegal when the state or the holders forbid it."""
        try:
            state = TRANSITIONS[self.state, event]
        except KeyError:
            raise Illegal(f"{event.value} in state {self.state.value}") from None
        if self.holders and event is Event.DETACH:
            raise Illegal(f"{event.value} while held by {len(self.holders)} mount IDs")
        holders = self.holders if state in HOLDABLE else MappingProxyType({})
        return Entry(state, holders)

    def hold(self, mount_id: str) -> "Entry":
        """One more reference of `mount_id`. Only what is attached can be held."""
        if self.state is not State.ATTACHED:
            raise Illegal(f"hold in state {self.state.value}")
        count = self.holders.get(mount_id, 0) + 1
        return replace(self, holders=MappingProxyType({**self.holders, mount_id: count}))

    def drop(self, mount_id: str) -> "Entry":
        """One reference of `mount_id` less; an unknown ID changes nothing."""
        count = self.holders.get(mount_id, 0)
        rest = {k: v for k, v in self.holders.items() if k != mount_id}
        if count > 1:
            rest[mount_id] = count - 1
        return replace(self, holders=MappingProxyType(rest))

    def abandon(self) -> "Entry":
        """No holders at all: the kernel has shown that nobody has the volume mounted."""
        return replace(self, holders=MappingProxyType({}))


def check(entry: Entry) -> Iterator[str]:
    """The invariants: yields a sentence for each one that `entry` breaks."""
    if entry.holders and entry.state not in HOLDABLE:
        yield f"held while {entry.state.value}"
    for mount_id, count in entry.holders.items():
        if count < 1:
            yield f"mount ID {mount_id[:12]} is counted {count} times"
