"""Calls with an end: the caller is answered in time, the work is never cut in the middle.

Storage can block for ever in the kernel, where no timeout reaches. So the work of a request runs
in a thread of its own; when the time is over the caller gets an error and the work goes on. What
it finds at its end is decided by `settle`: exactly one of worker and caller gives up. (A call that
needs no such agreement is a `Bounded`, `backends/host/bounded.py`.)
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from backends.errors import DeadlineExceeded

T = TypeVar("T")

PATIENCE = 0.9
"""The part of the time that is left that may be spent on waiting."""


class Call(Generic[T]):
    """One request being worked on."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._settled = False
        self._result: T | None = None
        self._error: BaseException | None = None

    def remaining(self) -> float:
        """Seconds until the caller gives up; never negative."""
        return max(0.0, self._end - self._clock())

    def patience(self) -> float:
        """How long to wait for something else: the caller shall still hear that it did not come."""
        return self.remaining() * PATIENCE

    def settle(self) -> bool:
        """Called by the work before its last, visible step: True when the caller will take the
        answer. After True the caller waits for it; after False nobody will."""
        with self._lock:
            self._settled = not self._abandoned
            return self._settled

    def run(self, work: Callable[["Call[T]"], T], what: str) -> T:
        """Do `work` and return what it returns or raise what it raises; DeadlineExceeded,
        naming `what`, when it takes longer."""
        threading.Thread(target=self._work, args=(work,), name=what, daemon=True).start()
        self._done.wait(self.remaining())
        with self._lock:
            if not self._done.is_set() and not self._settled:
                self._abandoned = True
        if self._abandoned:
            raise DeadlineExceeded(
                f"{what} takes too long; it goes on in the background, try again"
            )
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _work(self, work: Callable[["Call[T]"], T]) -> None:
        try:
            self._result = work(self)
        except BaseException as error:  # handed to the caller, whatever it is
            self._error = error
        finally:
            self._done.set()
