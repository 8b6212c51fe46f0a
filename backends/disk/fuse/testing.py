"""Devices to prove the data path with, without a log and without a store."""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.disk.device import BLOCK
from backends.errors import Invalid


class MemoryDevice:
    """A disk in memory. It forgets everything with its process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.flushes = 0
        self.uniques: list[int] = []
        self.closed = False
        self._bytes = bytearray(size)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._bytes[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview, unique: int) -> None:
        self.uniques.append(unique)
        self._bytes[offset : offset + len(data)] = data

    def flush(self) -> None:
        self.flushes += 1

    def discard(self, offset: int, length: int) -> None:
        self._bytes[offset : offset + length] = bytes(length)

    def resize(self, size: int) -> None:
        self._bytes.extend(bytes(size - self.size))
        self.size = size

    def close(self) -> None:
        self.closed = True


class FileDevice:
    """A disk in a sparse file. What a killed process wrote is in the page cache, as with a log.

    A file `<path>.fail` makes it fail as a sick disk does: its text is the errno to raise, by
    the call: `write 28`. A file `<path>.slow` makes each call last so many seconds: `read 0.03`.
    Both are read with every call. Each discard is noted in `<path>.discards`."""

    def __init__(self, path: Path, size: int, *, faulty: bool = False) -> None:
        self._path = path
        self._faulty = faulty
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self.size = os.fstat(self._file).st_size
        self._zeros = bytes(1 << 20)

    def read(self, offset: int, length: int) -> bytes:
        self._trouble("read")
        return os.pread(self._file, length, offset)

    def write(self, offset: int, data: bytes | memoryview, unique: int) -> None:
        self._trouble("write")
        os.pwrite(self._file, data, offset)

    def flush(self) -> None:
        self._trouble("flush")
        os.fdatasync(self._file)

    def discard(self, offset: int, length: int) -> None:
        self._trouble("discard")
        if self._faulty:
            with self._path.with_suffix(".discards").open("a") as notes:
                notes.write(f"{offset} {length}\n")
        for start in range(offset, offset + length, len(self._zeros)):
            count = min(len(self._zeros), offset + length - start)
            os.pwrite(self._file, self._zeros[:count], start)

    def resize(self, size: int) -> None:
        os.ftruncate(self._file, size)
        self.size = size

    def command(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if verb != "echo":
            raise Invalid(f"a file device knows no command {verb!r}")
        return arguments

    def close(self) -> None:
        os.fsync(self._file)

    def _trouble(self, call: str) -> None:
        if not self._faulty:
            return
        number = self._asked(".fail", call)
        if number is not None:
            raise OSError(int(number), os.strerror(int(number)))
        seconds = self._asked(".slow", call)
        if seconds is not None:
            time.sleep(float(seconds))

    def _asked(self, suffix: str, call: str) -> str | None:
        try:
            words = self._path.with_suffix(suffix).read_text().split()
        except FileNotFoundError:
            return None
        return words[1] if words and words[0] == call else None


class GatedDevice(MemoryDevice):
    """A disk in memory whose reads wait until `gate` is open; counts those that wait at once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gate = threading.Event()
        self._counting = threading.Lock()
        self.waiting = 0

    def read(self, offset: int, length: int) -> bytes:
        with self._counting:
            self.waiting += 1
        self.gate.wait(10)
        return super().read(offset, length)


def memory(arguments: Mapping[str, Any]) -> MemoryDevice:
    """Factory: `size` in bytes."""
    return MemoryDevice(int(arguments["size"]) // BLOCK * BLOCK)


def file(arguments: Mapping[str, Any]) -> FileDevice:
    """Factory: `path`, `size` in bytes, `faulty`: whether to look for trouble."""
    return FileDevice(
        Path(arguments["path"]), int(arguments["size"]), faulty=bool(arguments.get("faulty"))
    )
