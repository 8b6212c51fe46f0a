"""A store that fails as real ones do, from a seed: for tests and simulations.

One `random.Random` decides everything, so one seed is one run. A `Crash` is not an error that code
could handle: it ends the simulated process at that very call.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.errors import Unavailable
from backends.stores.base import Listed, Store

T = TypeVar("T")


class Crash(BaseException):
    """The simulated process ends here."""


@dataclass(frozen=True)
class Faults:
    """How often each thing happens, as probabilities per call."""

    lost_request: float = 0.0
    """The call fails and did nothing (also: 409, 503, a connection refused)."""
    lost_reply: float = 0.0
    """The call fails after it took effect."""
    late_effect: float = 0.0
    """A write fails, and takes effect at some later call."""
    short_body: float = 0.0
    """A read returns only the beginning of the object, without an error."""
    flipped_bit: float = 0.0
    """A read returns one wrong bit."""
    stale_list: float = 0.0
    """A listing shows the store as it was some calls ago."""
    ignored_condition: float = 0.0
    """A conditional creation replaces what was there, and reports success."""
    crash: float = 0.0
    """The process ends, before or after the effect."""


class FaultyStore(Store):
    """`inner` with faults. `on_call(verb, key)` runs before every call: a test lets other nodes
    act there. Late effects and old listings belong to one FaultyStore; share it or not."""

    def __init__(
        self,
        inner: Store,
        chance: random.Random,
        faults: Faults,
        on_call: Callable[[str, str], None] = lambda verb, key: None,
    ) -> None:
        self.inner = inner
        self.faults = faults
        self.on_call = on_call
        self._chance = chance
        self._late: list[Callable[[], None]] = []
        self._old_lists: dict[tuple[str, str], list[Listed]] = {}

    def settle(self) -> None:
        """Let every late effect happen now."""
        while self._late:
            self._late.pop(0)()

    def get(self, key: str) -> bytes:
        """See Store."""
        return self._spoiled(self._call("get", key, lambda: self.inner.get(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        body = self._call("get_range", key, lambda: self.inner.get_range(key, start, length))
        return self._spoiled(body)

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        if self._happens(self.faults.ignored_condition):
            self._call("put_if_absent", key, lambda: self.inner.put(key, body))
            return
        self._write("put_if_absent", key, lambda: self.inner.put_if_absent(key, body))

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        self._write("put", key, lambda: self.inner.put(key, body))

    def delete(self, key: str) -> None:
        """See Store."""
        self._write("delete", key, lambda: self.inner.delete(key))

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        found = self._call("list", prefix, lambda: self.inner.list(prefix, after))
        old = self._old_lists.get((prefix, after), found)
        if self._happens(self.faults.stale_list):
            return old
        self._old_lists[prefix, after] = found
        return found

    def head(self, key: str) -> int | None:
        """See Store."""
        return self._call("head", key, lambda: self.inner.head(key))

    def renew(self) -> None:
        """See Store."""
        self.inner.renew()

    def _write(self, verb: str, key: str, effect: Callable[[], None]) -> None:
        if self._happens(self.faults.late_effect):
            self._late.append(lambda: _quietly(effect))
            raise Unavailable(f"{verb} {key}: timed out")
        self._call(verb, key, effect)

    def _call(self, verb: str, key: str, effect: Callable[[], T]) -> T:
        self.on_call(verb, key)
        if self._late and self._happens(0.2):
            self._late.pop(self._chance.randrange(len(self._late)))()
        if self._happens(self.faults.lost_request):
            raise Unavailable(f"{verb} {key}: 503 SlowDown")
        if self._happens(self.faults.crash):
            if self._happens(0.5):
                _quietly(effect)
            raise Crash(f"{verb} {key}")
        result = effect()
        if self._happens(self.faults.lost_reply):
            raise Unavailable(f"{verb} {key}: the connection was reset")
        return result

    def _spoiled(self, body: bytes) -> bytes:
        if body and self._happens(self.faults.short_body):
            return body[: self._chance.randrange(len(body))]
        if body and self._happens(self.faults.flipped_bit):
            place = self._chance.randrange(len(body))
            return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        return body

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._chance.random() < probability


def _quietly(effect: Callable[[], object]) -> None:
    """Nobody is there to hear how it ended."""
    try:
        effect()
    except Exception as error:
        del error
