"""Parts of the map fetched before they are touched: who mounts a large disk touches many, one after
the other, and each is a request of its own that a read waits for.

They are kept as they came, packed, until they are touched or given up: nothing of the map is in
memory that nobody wants. A hint: what did not come is fetched when it is touched.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from itertools import islice

BYTES = 32 << 20
"""That are kept at most, give or take what is on its way."""
MOST = 256
"""Parts that are asked for at most."""


class Early:
    """`fetch(key)` gets one part; errors of it are nobody's. Thread-safe."""

    def __init__(
        self, fetch: Callable[[str], bytes], pool: Executor, wanted: Iterable[str]
    ) -> None:
        """Begins to fetch what is wanted, in this order."""
        self._fetch = fetch
        self._lock = threading.Lock()
        self._held = 0
        self._ended = False
        self._coming: dict[str, Future[bytes | None]] = {}
        for key in islice(wanted, MOST):
            self._coming[key] = pool.submit(self._get, key)

    def take(self, key: str) -> bytes | None:
        """The part, if it came or is on its way; nothing else will ask for it."""
        with self._lock:
            future = self._coming.pop(key, None)
        if future is None or future.cancel():
            return None
        try:
            body = future.result()
        except Exception:  # whatever it is, who asks by himself meets it again
            return None
        with self._lock:
            self._held -= len(body or b"")
        return body

    def end(self) -> None:
        """Fetch no more, and forget what nobody took."""
        with self._lock:
            self._ended, coming, self._coming = True, self._coming, {}
        for future in coming.values():
            future.cancel()

    def _get(self, key: str) -> bytes | None:
        with self._lock:
            if self._ended or self._held >= BYTES:
                return None
        body = self._fetch(key)
        with self._lock:
            self._held += len(body)
        return body
