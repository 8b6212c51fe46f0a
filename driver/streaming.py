"""Answers that take long: the caller hears how far the work is, and that somebody is still there.

Frames, each one letter, four bytes of length (big-endian) and so many bytes:
    P {"done", "total"}    progress       . (empty)    nothing new, for a second
    D bytes                data           R JSON       the result, last
    E {"error", "code"}    refused, last
"""

import contextlib
import json
import logging
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from backends.errors import KedgeError
from backends.inspection import Progress
from backends.progress import heard_by

log = logging.getLogger(__name__)
HEAD = struct.Struct(">cI")
PULSE = 1.0
"""Seconds after which something is said although there is nothing new."""
LARGEST = 1024**2
_STEPS = 500
"""So many steps of progress are told at most."""


class Gone(Exception):
    """Whoever asked has hung up."""


class Stream:
    """One answer on its way: a Sink, and the way of a Progress. Waits for a slow reader."""

    def __init__(self) -> None:
        self._frames: queue.Queue[bytes] = queue.Queue(maxsize=8)
        self._gone = threading.Event()
        self._told = -1.0

    def write(self, data: bytes, /) -> None:
        """Send data. Gone when nobody reads."""
        view = memoryview(data)
        for start in range(0, len(view), LARGEST):
            self._put(frame(b"D", bytes(view[start : start + LARGEST])))

    def progress(self, done: int, total: int) -> None:
        """Tell how far the work is, if that is worth telling. Gone when nobody reads."""
        part = done / total if total else 0.0
        if self._gone.is_set():
            raise Gone
        if part - self._told >= 1 / _STEPS or (total and done == total):
            self._told = part
            self._put(frame(b"P", _json({"done": done, "total": total})))

    def hint(self, done: int, total: int) -> None:
        """The same, told only to who listens now: never waits and never raises, for work that must
        not stop half way, or holds a file system still."""
        part = done / total if total else 0.0
        if part - self._told >= 1 / _STEPS or (total and done == total):
            self._told = part
            with contextlib.suppress(queue.Full):
                self._frames.put_nowait(frame(b"P", _json({"done": done, "total": total})))

    def run(self, work: Callable[["Stream"], Any]) -> Response:
        """An answer made of what `work` sends, and at the end what it returns or raises. The work
        begins at once, in a thread of its own."""
        threading.Thread(target=self._work, args=(work,), name="streaming", daemon=True).start()
        return Response(self._sent(), content_type="application/octet-stream")

    def _sent(self) -> Iterator[bytes]:
        try:
            while True:
                try:
                    sent = self._frames.get(timeout=PULSE)
                except queue.Empty:
                    sent = frame(b".", b"")
                yield sent
                if sent[:1] in (b"R", b"E"):
                    return
        finally:
            self._gone.set()

    def _work(self, work: Callable[["Stream"], Any]) -> None:
        try:
            last = frame(b"R", _json(work(self)))
        except Gone:
            return
        except KedgeError as error:
            last = frame(b"E", _json({"error": str(error), "code": error.code}))
        except Exception:
            log.exception("fault in work for the operator")
            sentence = "a fault in kedge; its log has the details"
            last = frame(b"E", _json({"error": sentence, "code": "fault"}))
        try:
            self._put(last)
        except Gone:
            return

    def _put(self, sent: bytes) -> None:
        while not self._gone.is_set():
            try:
                self._frames.put(sent, timeout=PULSE)
            except queue.Full:
                continue
            return
        raise Gone


def streamed(work: Callable[[Progress], Any]) -> Response:
    """The answer to a request whose work tells its progress and returns a document."""
    return Stream().run(lambda stream: work(stream.progress))


def copied(work: Callable[[], Any]) -> Response:
    """The same for work that copies, and goes on when nobody listens any more."""

    def heard(stream: Stream) -> Any:
        with heard_by(stream.hint):
            return work()

    return Stream().run(heard)


def frame(kind: bytes, content: bytes) -> bytes:
    """The bytes of one frame."""
    return HEAD.pack(kind, len(content)) + content


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()
