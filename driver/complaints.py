"""Lasting troubles, said once: an outage of an hour is one line, and one more when it is over."""

import logging


class Complaints:
    """Of one speaker; not thread-safe."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def trouble(self, subject: str, reason: object) -> None:
        """Say it unless it was the last thing said about `subject`."""
        if self._said.get(subject) != str(reason):
            self._said[subject] = str(reason)
            self._log.error("%s: %s", subject, reason)

    def well(self, subject: str) -> None:
        """The trouble, if there was one, is over."""
        if self._said.pop(subject, None) is not None:
            self._log.info("%s is well again", subject)
