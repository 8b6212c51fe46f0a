"""How many requests may be on their way at once to a store that refuses some for being too many.

Additive increase, multiplicative decrease: pure, times are seconds on one monotonic clock. As long
as nothing is refused there is no bound. The first refusal sets one; each cuts it again, but not one
of a request that was sent before the last cut: it tells nothing new. Every answer raises it: soon
back to near where the last refusal found it, and from there a little at a time. Requests are spread
over the time that one takes, so that a bound may be a fraction, also of one.
"""

import math
from dataclasses import dataclass

CUT = 0.85
"""What a refusal leaves of the bound ..."""
DEEP = 0.7
"""... and one that comes before SOON answers: nobody knows yet where the bound is."""
SOON = 12
STEP = 0.01
"""Of the last peak: what an answer adds, divided by how many may be on their way ..."""
BACK = 0.1
"""... besides this part of what it lies below that peak."""
GROWTH = 1.5
"""Beyond so many times the last peak the store allows more than it did: the steps grow."""
CALM = 30.0
"""Seconds without a refusal after which there is no bound any more."""
AWAY = 15.0
"""Seconds after which a store that refuses everything is taken to be away: fewer requests would not
change that, and the first answer ends it."""
LEAST = 1 / 256
LONGEST = 5.0
"""Seconds between two requests at most, whatever is refused: never give up."""
_OLD = 0.9


@dataclass(frozen=True)
class Sent:
    """A request that was let go."""

    at: float
    flying: int
    """How many were on their way with it."""


class Window:
    """Not thread-safe. Ask `wait` before a request, then `sent`; tell how it ended."""

    def __init__(self) -> None:
        self.limit: float | None = None
        """None: no bound."""
        self.flying = 0
        self.refusals = 0
        self._peak = 1.0
        self._cut_at = self._refused_at = float("-inf")
        self._last = float("-inf")
        self._answers = 0
        self._silent: float | None = None
        """Since when everything has been refused."""
        self._before = 1.0
        """The bound when something was answered last."""
        self._usual = 0.05

    def wait(self, now: float) -> float | None:
        """Seconds until the next request may be sent; None: not before one has ended."""
        if self.limit is not None and now - self._refused_at >= CALM:
            self.limit = None
        if self.limit is None:
            return 0.0
        if self.flying >= math.ceil(self.limit):
            return None
        return max(0.0, self._last + min(LONGEST, self._usual / self.limit) - now)

    def sent(self, now: float) -> Sent:
        """A request is on its way."""
        self.flying += 1
        self._last = now
        return Sent(now, self.flying)

    def ended(self) -> None:
        """It failed, and says nothing about how many are too many."""
        self.flying -= 1

    def answered(self, sent: Sent, now: float) -> None:
        """It was carried out."""
        self.flying -= 1
        self._usual = _OLD * self._usual + (1 - _OLD) * min(1.0, now - sent.at)
        if self.limit is not None and self._away(now):
            self.limit = self._peak = self._before
        self._silent = None
        if self.limit is None or sent.at <= self._cut_at:
            return
        self._answers += 1
        step = STEP * self._peak + BACK * max(0.0, self._peak - self.limit)
        self.limit += step / max(1.0, self.limit)
        if self.limit > GROWTH * self._peak:
            self._peak = self.limit

    def refused(self, sent: Sent, now: float) -> None:
        """The store said that it was one too many."""
        self.flying -= 1
        self.refusals += 1
        self._refused_at = now
        if self._silent is None:
            self._silent = now
        if sent.at <= self._cut_at or self._away(now):
            return
        bound = float(sent.flying) if self.limit is None else min(self.limit, max(1, sent.flying))
        self._peak = bound if self.limit is None else max(bound, LEAST)
        if self.limit is None or self._answers:
            self._before = bound
        soon = self.limit is None or self._answers < SOON
        self.limit = max(LEAST, bound * (DEEP if soon else CUT))
        self._cut_at, self._answers = now, 0

    def _away(self, now: float) -> bool:
        return self._silent is not None and now - self._silent > AWAY
