"""The log: information to stdout, warnings and errors to stderr, never blocking.

Docker files a plugin's stdout under `info` and its stderr under `error`. Engines before 24.0.7
stop reading at a line of 64 KiB; the pipe then fills and every further write blocks for ever. So
lines are capped far below that, and written by a thread of their own from a bounded queue: when
nobody reads, lines are dropped and counted, and the service goes on.
"""

import atexit
import logging
import os
import queue
import select
import threading

MAX_LINE = 8 * 1024
MAX_QUEUED = 4096
LAST_WORDS = 0.5
"""Seconds that the end of the process waits for lines to be read."""

_FOREIGN = ("gunicorn.error", "gunicorn.access")
"""Loggers that come with handlers of their own, which would block."""


def set_up(level: str, out: int = 1, err: int = 2) -> None:
    """Send every logger's lines to the files `out` and `err`. Call once per process, after any
    fork."""
    handler = Queued(out, err)
    handler.setFormatter(Capped("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _FOREIGN:
        foreign = logging.getLogger(name)
        foreign.handlers.clear()
        foreign.propagate = True
    atexit.register(handler.flush)


class Capped(logging.Formatter):
    """One record, one line, at most MAX_LINE characters."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", " | ")
        if len(line) > MAX_LINE:
            line = f"{line[:MAX_LINE]}... ({len(line) - MAX_LINE} characters more)"
        return line


class Queued(logging.Handler):
    """Writes from a thread of its own; drops and counts when that one cannot write."""

    def __init__(self, out: int, err: int) -> None:
        super().__init__()
        self._files = {False: out, True: err}
        self._lines: queue.Queue[tuple[bool, str] | threading.Event] = queue.Queue(MAX_QUEUED)
        self._dropped = 0
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called with this handler's lock held, so the count is exact."""
        try:
            line = self.format(record)
        except Exception as fault:
            line = f"ERROR log: a line of {record.name} cannot be formatted: {fault!r}"
        try:
            if self._dropped:
                lost = f"WARNING log: {self._dropped} lines dropped: nobody read them"
                self._lines.put_nowait((True, lost))
                self._dropped = 0
            self._lines.put_nowait((record.levelno >= logging.WARNING, line))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait for the lines so far, but not for a reader that does not come."""
        written = threading.Event()
        try:
            self._lines.put_nowait(written)
        except queue.Full:
            return
        written.wait(LAST_WORDS)

    def _work(self) -> None:
        while True:
            item = self._lines.get()
            if isinstance(item, threading.Event):
                item.set()
            else:
                is_bad, line = item
                _write(self._files[is_bad], line)


class Brief(logging.Handler):
    """For a process that must not start threads: writes a line if that can be done at once, cut
    to what a pipe takes whole, and else drops it."""

    def __init__(self, err: int = 2) -> None:
        super().__init__()
        self._err = err
        self.setFormatter(Capped("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """See the class."""
        line = self.format(record)[: select.PIPE_BUF // 4]
        if takes_now(self._err):
            _write(self._err, line)


def takes_now(file: int) -> bool:
    """Whether a write would not wait. (`select` would fail beyond descriptor 1023.)"""
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return bool(poll.poll(0))


def _write(file: int, line: str) -> None:
    """Unbuffered: a thread that is stuck here holds no lock that the process needs to end."""
    rest = (line + "\n").encode(errors="backslashreplace")
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError:
        return  # the reader is gone: nothing can be said, and nothing may stop for it
