"""Calls that may hang in the kernel, for callers that may not."""

import threading
from collections.abc import Callable


class Bounded:
    """A call in a thread of its own. A call that hangs in the kernel cannot be stopped; it can be
    waited for again, after what it waits for was cut off."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bounded", daemon=True)
        self._thread.start()

    def done(self, seconds: float) -> bool:
        """Wait for the end at most so long. Raises what the call raised."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
