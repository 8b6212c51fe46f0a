"""Looks at every state that a model can reach, breadth first, and says how a rule is broken.

A model is: states (hashable values), the steps that lead from one to the next, and rules. There are
three kinds of rules:

    invariant      holds in every state
    step rule      holds of every step: what may become of what
    hope           from every state where `given` holds, steps of the kind `by` alone *can* lead to
                   a state where `goal` holds: nothing the world did before has made it impossible

The first counterexample found has the fewest steps there can be. The search is exhaustive within
the model's own bounds; when it would look at more than `limit` states it raises TooLarge, rather
than to call what it has not looked at sound.

    class Light(Model[bool]):
        def initial(self): yield False
        def steps(self, on): yield ("press", not on)
        invariants = {"it is never on": lambda on: not on}

    explore(Light())        # raises Counterexample: it is never on, after: press
"""

import argparse
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

NOWHERE = -1


@dataclass(frozen=True)
class Hope(Generic[S]):
    """From wherever `given` holds, `goal` can be reached by steps whose name `by` allows."""

    goal: Callable[[S], bool]
    given: Callable[[S], bool] = lambda state: True
    by: Callable[[str], bool] = lambda step: True


class Model(ABC, Generic[S]):
    """Subclass it, or give `rules` of another by overriding the three mappings."""

    invariants: Mapping[str, Callable[[S], bool]] = {}
    step_rules: Mapping[str, Callable[[S, str, S], bool]] = {}
    hopes: Mapping[str, Hope[S]] = {}

    @abstractmethod
    def initial(self) -> Iterable[S]:
        """Where it begins."""

    @abstractmethod
    def steps(self, state: S) -> Iterable[tuple[str, S]]:
        """Everything that can happen next, each with its name. A step that changes nothing
        may be left out."""

    def show(self, state: S) -> str:
        """A state for people, in a counterexample."""
        return str(state)


class TooLarge(RuntimeError):
    """The model has more states than it was allowed; nothing is known of the rest."""


class Counterexample(AssertionError):
    """A rule is broken. `trace`: the steps from the beginning, each with the state after it."""

    def __init__(self, rule: str, trace: Sequence[tuple[str, str]]) -> None:
        self.rule = rule
        self.trace = trace
        lines = [
            f"{number:3}. {step}\n       {shown}" for number, (step, shown) in enumerate(trace)
        ]
        super().__init__("\n".join([f"{rule}: not so after {len(trace) - 1} steps", *lines]))

    @property
    def steps(self) -> list[str]:
        """The names of the steps."""
        return [step for step, _ in self.trace[1:]]


@dataclass(frozen=True)
class Explored:
    """What was looked at. `depth`: the most steps that any state needs."""

    states: int
    steps: int
    depth: int
    names: frozenset[str]
    """Every name of a step that was taken: so a test can see that all of them happen."""


@dataclass
class _Graph(Generic[S]):
    """States by number, how each was reached first, and every step if hopes are to be judged."""

    numbers: dict[S, int] = field(default_factory=dict)
    states: list[S] = field(default_factory=list)
    parent: "array[int]" = field(default_factory=lambda: array("q"))
    by: "array[int]" = field(default_factory=lambda: array("q"))
    depth: "array[int]" = field(default_factory=lambda: array("q"))
    names: dict[str, int] = field(default_factory=dict)
    edges: "array[int]" = field(default_factory=lambda: array("q"))
    """(from, name, to), one after another."""

    def name(self, step: str) -> int:
        return self.names.setdefault(step, len(self.names))

    def add(self, state: S, parent: int, step: int) -> int:
        """The number of a new state, or NOWHERE if it is known."""
        if state in self.numbers:
            return NOWHERE
        number = self.numbers[state] = len(self.states)
        self.states.append(state)
        self.parent.append(parent)
        self.by.append(step)
        self.depth.append(0 if parent == NOWHERE else self.depth[parent] + 1)
        return number


def explore(model: Model[S], *, limit: int = 5_000_000) -> Explored:
    """Look at every state. Raises Counterexample, or TooLarge."""
    graph: _Graph[S] = _Graph()
    for state in model.initial():
        if graph.add(state, NOWHERE, NOWHERE) != NOWHERE:
            _check_state(model, graph, state)
    steps = 0
    at = 0
    while at < len(graph.states):
        if len(graph.states) > limit:
            raise TooLarge(f"{type(model).__name__} has more than {limit} states")
        steps += _expand(model, graph, at)
        at += 1
    for rule, hope in model.hopes.items():
        _check_hope(model, graph, rule, hope)
    return Explored(len(graph.states), steps, max(graph.depth, default=0), frozenset(graph.names))


def _expand(model: Model[S], graph: _Graph[S], at: int) -> int:
    state = graph.states[at]
    count = 0
    for step, after in model.steps(state):
        count += 1
        name = graph.name(step)
        for rule, holds in model.step_rules.items():
            if not holds(state, step, after):
                raise Counterexample(rule, [*_trace(model, graph, at), (step, model.show(after))])
        if graph.add(after, at, name) != NOWHERE:
            _check_state(model, graph, after)
        if model.hopes:
            graph.edges.extend((at, name, graph.numbers[after]))
    return count


def _check_state(model: Model[S], graph: _Graph[S], state: S) -> None:
    for rule, holds in model.invariants.items():
        if not holds(state):
            raise Counterexample(rule, _trace(model, graph, graph.numbers[state]))


def _check_hope(model: Model[S], graph: _Graph[S], rule: str, hope: Hope[S]) -> None:
    """Backwards from every goal along the allowed steps; what is not met has no way there."""
    allowed = {number for step, number in graph.names.items() if hope.by(step)}
    before: dict[int, list[int]] = {}
    for start, name, end in _edges(graph):
        if name in allowed:
            before.setdefault(end, []).append(start)
    met = bytearray(hope.goal(state) for state in graph.states)
    todo = [number for number, reached in enumerate(met) if reached]
    while todo:
        for earlier in before.get(todo.pop(), ()):
            if not met[earlier]:
                met[earlier] = True
                todo.append(earlier)
    for number, state in enumerate(graph.states):
        if not met[number] and hope.given(state):
            raise Counterexample(rule, _trace(model, graph, number))


def _edges(graph: _Graph[S]) -> Iterator[tuple[int, int, int]]:
    flat = iter(graph.edges)
    return zip(flat, flat, flat, strict=True)


def _trace(model: Model[S], graph: _Graph[S], at: int) -> list[tuple[str, str]]:
    names = list(graph.names)
    trace = []
    while at != NOWHERE:
        step = names[graph.by[at]] if graph.by[at] != NOWHERE else "the beginning"
        trace.append((step, model.show(graph.states[at])))
        at = graph.parent[at]
    return trace[::-1]


def command(models: Mapping[str, Callable[[], Model[S]]], about: str) -> None:
    """The command line of a model's module: explore those named, or all; exit 1 when a rule is
    broken or a model is too large to be judged."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("names", nargs="*", metavar="MODEL", help=f"of: {', '.join(models)}")
    parser.add_argument("--limit", type=int, default=5_000_000, help="states to look at, at most")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(models):
        parser.error(f"no model {', '.join(sorted(unknown))}; there are: {', '.join(models)}")
    failed = False
    for name in asked.names or models:
        begun = time.monotonic()
        try:
            explored = explore(models[name](), limit=asked.limit)
        except (Counterexample, TooLarge) as found:
            print(f"{name}: {found}")
            failed = True
            continue
        print(
            f"{name}: every rule holds; {explored.states} states, {explored.steps} steps, "
            f"at most {explored.depth} deep, {time.monotonic() - begun:.1f} s"
        )
    sys.exit(failed)
