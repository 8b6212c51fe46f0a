"""Threads that do one thing again and again, for as long as the service lives."""

import logging
import threading
from collections.abc import Callable

from backends.errors import KedgeError
from driver.complaints import Complaints

log = logging.getLogger(__name__)


class Rounds:
    """Each thread is one kind of round. `stop` ends them all, once: a round that is under way is
    finished by the next start of the service."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def keep(self, what: str, one_round: Callable[[], None], every: float) -> threading.Event:
        """Call `one_round` from now on, each time `every` seconds after it returned, in a thread
        named `what`. What it raises is said once, for as long as it lasts, and the next round
        comes all the same. The event is set when the first round is over, well or not."""
        tried = threading.Event()
        arguments = (what, one_round, every, tried)
        threading.Thread(target=self._run, args=arguments, name=what, daemon=True).start()
        return tried

    def stop(self) -> None:
        """No further round begins."""
        self._stop.set()

    def _run(
        self, what: str, one_round: Callable[[], None], every: float, tried: threading.Event
    ) -> None:
        complaints = Complaints(log)
        while not self._stop.is_set():
            try:
                one_round()
                complaints.well(what)
            except KedgeError as error:
                complaints.trouble(what, error)
            except Exception:
                log.exception("%s: stumbled over a fault in kedge, and goes on", what)
            tried.set()
            self._stop.wait(every)
