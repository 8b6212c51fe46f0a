"""A TCP proxy that a test can stop, cut, slow down and throttle: the way to a store that is sick.

    with Proxy("127.0.0.1", 8000) as way:
        way.port              # connect here instead
        way.drop()            # refuse new connections, end those that stand
        way.stall()           # accept and forward nothing: a store that is gone without a word
        way.deaden()          # nothing goes through the next connection, though it is taken
    way.delay = 0.2       # seconds before each piece goes on
        way.rate = 1 << 20    # bytes per second, together
        way.well()            # as before

Pieces are forwarded in order and unchanged, or not at all.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

_PIECE = 1 << 16
_TICK = 0.02


class Proxy:
    """Listens on `address` (a free port of it, or `port`) until it is closed."""

    def __init__(self, host: str, target: int, *, address: str = "127.0.0.1") -> None:
        self._target = (host, target)
        self._listener = socket.create_server((address, 0), backlog=128)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        self.rate = 0
        self.forwarded = 0
        """Bytes, both ways together."""
        self.connections = 0
        """So many were taken."""
        self._dead: list[bool] = []
        """Of the next connections: whether they are dead both ways, or only answer nothing."""
        self._open = threading.Event()
        self._open.set()
        self._dropping = False
        self._closed = False
        self._lock = threading.Lock()
        self._standing: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop(self) -> None:
        """Nobody gets through, and is told so at once."""
        self._dropping = True
        self._cut()

    def stall(self) -> None:
        """Nobody gets through, and nobody is told."""
        self._open.clear()
        self._dropping = False

    def deaden(self, *, answers_only: bool = False) -> None:
        """The next connection is taken, and nothing goes through it, or nothing comes back; nobody
        is told. Those after it are as good as any."""
        self._dead.append(not answers_only)

    def well(self) -> None:
        """Everything goes through again, at full speed; what was stalled goes on."""
        self.delay, self.rate, self._dropping = 0.0, 0, False
        self._open.set()

    def close(self) -> None:
        """End. Repeating it is no error."""
        self._closed = True
        self._open.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            standing, self._standing = self._standing, set()
        for one in standing:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client:
            if self._dropping:
                return
            self._open.wait()
            try:
                server = socket.create_connection(self._target, 10)
            except OSError:
                return
            with server:
                server.settimeout(None)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self.connections += 1
                    self._standing |= {client, server}
                    fate = self._dead.pop(0) if self._dead else None
                answers = (server, client, fate is not None)
                back = threading.Thread(target=self._pump, args=answers, daemon=True)
                back.start()
                self._pump(client, server, lost=fate is True)
                back.join()
                with self._lock:
                    self._standing -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, lost: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                self._hold_back(len(piece))
                if not lost:
                    sink.sendall(piece)
                    self.forwarded += len(piece)
        for end in () if lost else (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _hold_back(self, size: int) -> None:
        self._open.wait()
        if self.delay:
            time.sleep(self.delay)
        if self.rate:
            time.sleep(size / self.rate)
