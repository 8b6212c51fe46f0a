"""The transition table is total, and no legal history breaks an invariant."""

import itertools
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from driver.lifecycle import HOLDABLE, INTENTS, TRANSITIONS, Entry, Event, Illegal, State, check

PRODUCT = list(itertools.product(State, Event))
IDS = st.sampled_from(["a" * 64, "b" * 64])


@pytest.mark.parametrize(("state", "event"), PRODUCT, ids=lambda one: one.value)
def test_every_pair_is_a_step_or_illegal(state: State, event: Event) -> None:
    expected = TRANSITIONS.get((state, event))
    if expected is None:
        with pytest.raises(Illegal, match=f"{event.value} in state {state.value}"):
            Entry(state).step(event)
    else:
        assert Entry(state).step(event) == Entry(expected)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.ABSENT}
    while more := {to for (of, _), to in TRANSITIONS.items() if of in reached} - reached:
        reached |= more
    assert reached == set(State)
    resting = {State.ABSENT}
    while more := {of for (of, _), to in TRANSITIONS.items() if to in resting} - resting:
        resting |= more
    assert resting == set(State)


def test_every_event_is_used_and_every_intent_may_be_repeated() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)
    for intent in (*INTENTS, Event.DETACH):
        begun = {to for (_, event), to in TRANSITIONS.items() if event is intent}
        for state in begun:  # a crash after the intent was written: the same call comes again
            assert TRANSITIONS[state, intent] is state


def test_a_failure_never_invents_a_volume_or_a_mount() -> None:
    ends = {to for (_, event), to in TRANSITIONS.items() if event is Event.FAILED}
    assert ends == {State.ABSENT, State.DETACHED}


@pytest.mark.parametrize("state", State)
def test_only_what_is_attached_can_be_held(state: State) -> None:
    if state is State.ATTACHED:
        assert Entry(state).hold("x").holders == {"x": 1}
    else:
        with pytest.raises(Illegal):
            Entry(state).hold("x")


@pytest.mark.parametrize("state", [State.ATTACHED, State.ATTACHING, State.FENCED])
def test_what_is_held_is_not_detached(state: State) -> None:
    with pytest.raises(Illegal, match="held by 1 mount"):
        Entry(state, MappingProxyType({"x": 1})).step(Event.DETACH)


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=30))
def test_references_are_counted_by_id(steps: list[tuple[bool, str]]) -> None:
    entry, counts = Entry(State.ATTACHED), dict.fromkeys(["a" * 64, "b" * 64], 0)
    for holds, mount_id in steps:
        entry = entry.hold(mount_id) if holds else entry.drop(mount_id)
        counts[mount_id] = max(0, counts[mount_id] + (1 if holds else -1))
        assert dict(entry.holders) == {key: count for key, count in counts.items() if count}


class Histories(RuleBasedStateMachine):
    """Whatever is legal, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = Entry(State.ABSENT)

    @rule(event=st.sampled_from(Event))
    def step(self, event: Event) -> None:
        before = self.entry
        try:
            self.entry = self.entry.step(event)
        except Illegal:
            assert self.entry is before

    @rule(mount_id=IDS)
    def hold(self, mount_id: str) -> None:
        if self.entry.state is State.ATTACHED:
            self.entry = self.entry.hold(mount_id)

    @rule(mount_id=IDS)
    def drop(self, mount_id: str) -> None:
        self.entry = self.entry.drop(mount_id)

    @rule()
    def abandon(self) -> None:
        self.entry = self.entry.abandon()

    @invariant()
    def nothing_is_broken(self) -> None:
        assert list(check(self.entry)) == []


TestHistories = Histories.TestCase


@pytest.mark.parametrize("state", [state for state in State if state not in HOLDABLE])
def test_check_sees_a_held_volume_that_cannot_be(state: State) -> None:
    assert list(check(Entry(state, MappingProxyType({"x": 1})))) == [f"held while {state.value}"]


def test_check_sees_an_impossible_count() -> None:
    entry = Entry(State.ATTACHED, MappingProxyType({"x": 0, "y": -1, "z": 1}))
    assert list(check(entry)) == ["mount ID x is counted 0 times", "mount ID y is counted -1 times"]
