"""Records as seen over a bad network: slow, cut off, replies lost, writes that arrive late."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from backends.errors import Conflict, Unavailable
from backends.records import Record, Records
from tests.sim.judge import JudgedRecords
from tests.sim.kernel import Kernel

T = TypeVar("T")


@dataclass
class Network:
    """How the way from one machine to the store is. `calm`: prompt and without any fault."""

    kernel: Kernel
    chance: random.Random
    cut_until: float = 0.0
    calm: bool = False
    late: float = 6.0
    """A write whose sender gave up may take effect up to so many seconds later."""
    slow: float = 0.03
    """Of so many requests and replies, each is on its way for seconds."""
    flaky_until: float = 0.0
    """Until then every second request or reply is lost or late."""

    @property
    def cut(self) -> bool:
        return not self.calm and self.kernel.now < self.cut_until

    def latency(self) -> float:
        """Of one way."""
        if not self.calm and self.chance.random() < self.slow:
            return self.chance.uniform(0.3, 4.0)
        return self.chance.uniform(0.001, 0.02)


@dataclass
class FaultyRecords(Records):
    """One machine's client of `store`. Called by actors only."""

    network: Network
    store: JudgedRecords
    opaque: bool = False
    """Stamps are not versions, as in an object store."""

    def get(self, key: str) -> Record | None:
        return self._ask(lambda: self.store.get(key), writes=False)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        return self._ask(lambda: self.store.put(key, value, expected=expected), writes=True)

    def put_alone(
        self, key: str, value: bytes, *, expected: str, alone: Callable[[], bool]
    ) -> Record:
        """As an object store does: who comes late by two changes makes something that nobody will
        ever see, and finds out if he looks."""

        def effect() -> tuple[Record, bool]:
            if self.store.free_again(key, expected):
                return Record(key, value, f"unseen after {expected}"), False
            return self.store.put(key, value, expected=expected), True

        written, seen = self._ask(effect, writes=True)
        if not seen and not alone():
            raise Conflict(f"record {key} was changed by another writer; read it again")
        return written

    def delete(self, key: str, *, expected: str) -> None:
        return self._ask(lambda: self.store.delete(key, expected=expected), writes=True)

    def keys(self, kind: str) -> list[str]:
        return self._ask(lambda: self.store.keys(kind), writes=False)

    def stamps(self, kind: str) -> dict[str, str]:
        return self._ask(lambda: self._stamps(kind), writes=False)

    def _stamps(self, kind: str) -> dict[str, str]:
        stamps = self.store.stamps(kind)
        return {key: f"~{stamp}" for key, stamp in stamps.items()} if self.opaque else stamps

    def _ask(self, effect: Callable[[], T], *, writes: bool) -> T:
        network, kernel = self.network, self.network.kernel
        fate = 1.0 if network.calm else network.chance.random()
        if kernel.now < network.flaky_until:
            fate /= 10
        arrives = kernel.now + network.latency()
        if fate < 0.06:
            if fate < 0.02 and writes:
                self._later(effect, network.chance.uniform(0.0, network.late))
            elif fate < 0.04:
                self._later(effect, arrives - kernel.now)
            kernel.sleep(network.chance.uniform(0.3, 2.0))
            raise Unavailable("no reply")
        answer: list[T | Conflict] = []
        calm = network.calm
        kernel.at(arrives, lambda: self._serve(effect, answer, calm))
        kernel.sleep(arrives - kernel.now + network.latency())
        if not answer or network.cut:
            kernel.sleep(network.chance.uniform(0.3, 2.0))
            raise Unavailable("cut off")
        if isinstance(answer[0], Conflict):
            raise answer[0]
        return answer[0]

    def _serve(self, effect: Callable[[], T], answer: "list[T | Conflict]", calm: bool) -> None:
        if self.network.cut or calm != self.network.calm:
            return
        try:
            answer.append(effect())
        except Conflict as error:
            answer.append(error)

    def _later(self, effect: Callable[[], object], seconds: float) -> None:
        def act() -> None:
            if not self.network.calm:
                with suppress(Conflict):
                    effect()

        self.network.kernel.at(self.network.kernel.now + seconds, act)
