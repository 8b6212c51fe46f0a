"""The log: information to stdout, warnings and errors to stderr, never blocking.

Docker files a plugin's stdout under `info` and its stderr under `error`. Engines before 24.0.7
stop reading at a line of 64 KiB; the pipe then fills and every further write blocks for ever. So
lines are capped far below that, and written by a thread of their own from a bounded queue: when
nobody reads, lines are dropped and counted, and the service goes on.
"""

import logging
import logging.handlers
import queue
import sys
from typing import TextIO

MAX_LINE = 8 * 1024
MAX_QUEUED = 4096


def set_up(level: str, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> None:
    """Send every logger's lines to `out` and `err`. Call once per process, after any fork."""
    handler = _Bounded(queue.Queue(MAX_QUEUED))
    handler.setFormatter(_Capped("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.handlers.QueueListener(handler.queue, _Split(handler, out, err)).start()


class _Capped(logging.Formatter):
    """One record, one line, at most MAX_LINE characters."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", " | ")
        if len(line) > MAX_LINE:
            line = f"{line[:MAX_LINE]}... ({len(line) - MAX_LINE} characters more)"
        return line


class _Bounded(logging.handlers.QueueHandler):
    """Drops instead of waiting when the queue is full."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Split(logging.Handler):
    """Writes a line to the stream of its level."""

    def __init__(self, source: _Bounded, out: TextIO, err: TextIO) -> None:
        super().__init__()
        self._source, self._out, self._err = source, out, err

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if count := self._source.dropped:
                self._source.dropped = 0
                self._write(self._err, f"WARNING log: {count} lines dropped: nobody read them")
            stream = self._err if record.levelno >= logging.WARNING else self._out
            self._write(stream, record.getMessage())
        except (OSError, ValueError):
            return  # the reader is gone: nothing can be said, and nothing may stop for it

    @staticmethod
    def _write(stream: TextIO, line: str) -> None:
        stream.write(line + "\n")
        stream.flush()
