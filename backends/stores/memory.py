"""A store in this process's memory: what every other store is compared with."""

import threading
from collections.abc import Callable

from backends.errors import Conflict, NotFound
from backends.stores.base import Listed, Store


class MemoryStore(Store):
    """Gone with the process. Objects that share one instance see one store."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._modified: dict[str, float] = {}
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """See Store."""
        with self._lock:
            if key not in self.objects:
                raise NotFound(f"no object {key}")
            return self.objects[key]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Store."""
        return self.get(key)[start : start + length]

    def put_if_absent(self, key: str, body: bytes) -> None:
        """See Store."""
        with self._lock:
            if key in self.objects:
                raise Conflict(f"object {key} is there already")
            self.objects[key] = bytes(body)
            self._modified[key] = self._clock()

    def put(self, key: str, body: bytes) -> None:
        """See Store."""
        with self._lock:
            self.objects[key] = bytes(body)
            self._modified[key] = self._clock()

    def delete(self, key: str) -> None:
        """See Store."""
        with self._lock:
            self.objects.pop(key, None)

    def list(self, prefix: str, after: str = "") -> list[Listed]:
        """See Store."""
        with self._lock:
            return [
                Listed(key, len(body), self._modified.get(key, 0.0))
                for key, body in sorted(self.objects.items())
                if key.startswith(prefix) and key > after
            ]

    def head(self, key: str) -> int | None:
        """See Store."""
        with self._lock:
            body = self.objects.get(key)
            return None if body is None else len(body)
