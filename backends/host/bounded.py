"""Calls that may hang in the kernel, for callers that may not; for all backends."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

R = TypeVar("R")


class Bounded(Generic[R]):
    """A call in a thread of its own. A call that hangs in the kernel cannot be stopped; it can be
    waited for again, after what it waits for was cut off."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._results: list[R] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bounded", daemon=True)
        self._thread.start()

    def running(self) -> bool:
        """Whether it has not ended yet, in whichever way."""
        return self._thread.is_alive()

    def done(self, seconds: float) -> bool:
        """Wait for the end at most so long. Raises what the call raised."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def result(self, seconds: float, late: Exception) -> R:
        """What the call returned, waited for at most so long; raises `late` when it has not ended
        by then, or what the call raised."""
        if not self.done(seconds):
            raise late
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error
