"""The few file system calls that a local log is made of, so that a test can stand in for them."""

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from backends.disk.log.locallog import Full
from backends.errors import HostError

_libc = ctypes.CDLL(None, use_errno=True)
_ZERO_RANGE = 0x10
_PIECE = 1 << 20


class LogFiles:
    """Files in one directory, which is made. Methods raise HostError with the system's words."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, int] = {}

    def names(self) -> list[str]:
        """What is there."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return sorted(os.listdir(self._directory))
        except OSError as error:
            raise self._failed(error) from error

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        try:
            return (self._directory / name).read_bytes()
        except OSError as error:
            raise self._failed(error) from error

    def allocate(self, name: str, size: int) -> None:
        """Make a file with all its space, so that later writes cannot run out of it. Full when
        there is none."""
        try:
            handle = self._handle(name, os.O_CREAT)
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Full(self._failed(error).message) from error
            raise self._failed(error) from error

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; an open one stays open."""
        try:
            os.rename(self._directory / old, self._directory / new)
        except OSError as error:
            raise self._failed(error) from error
        if old in self._open:
            self._open[new] = self._open.pop(old)

    def remove(self, name: str) -> None:
        """Remove a file; absent: nothing."""
        if name in self._open:
            os.close(self._open.pop(name))
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / name)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, name: str, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Write all of `parts`, one after the other, from `offset` on. Not synced."""
        size = sum(len(part) for part in parts)
        try:
            if os.pwritev(self._handle(name), parts, offset) != size:
                raise HostError(f"{self._directory / name}: a write was cut short")
        except OSError as error:
            raise self._failed(error) from error

    def zero(self, name: str, offset: int, length: int) -> None:
        """Make bytes of a file zeros, for good once they are synced. Where the file system can, it
        only notes that; the space stays the file's."""
        try:
            handle = self._handle(name)
        except OSError as error:
            raise self._failed(error) from error
        place, size = ctypes.c_int64(offset), ctypes.c_int64(length)
        if _libc.fallocate(handle, _ZERO_RANGE, place, size) == 0:
            return
        for at in range(offset, offset + length, _PIECE):
            self.write(name, at, [bytes(min(_PIECE, offset + length - at))])

    def pread(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes."""
        try:
            return os.pread(self._handle(name), length, offset)
        except OSError as error:
            raise self._failed(error) from error

    def sync(self, names: Sequence[str], *, directory: bool = False) -> None:
        """Put the files' bytes, and the names if asked, on stable storage. A file that is gone
        was released meanwhile: what it held is in the store."""
        try:
            for name in names:
                with suppress(FileNotFoundError):
                    os.fdatasync(self._handle(name))
            if directory:
                handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError as error:
            raise self._failed(error) from error

    def put(self, name: str, content: bytes) -> None:
        """Replace a small file as a whole, durably."""
        temporary = f".{name}.new"
        self.remove(temporary)
        self.allocate(temporary, len(content))
        self.write(temporary, 0, [content])
        self.sync([temporary])
        self.rename(temporary, name)
        if name in self._open:
            os.close(self._open.pop(name))
        self.sync([], directory=True)

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _handle(self, name: str, flags: int = 0) -> int:
        """Readers and a sync call this without a lock: the file may get another name meanwhile,
        and another one of them may have opened it."""
        found = self._open.get(name)
        if found is None:
            found = os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
            first = self._open.setdefault(name, found)
            if first != found:
                os.close(found)
                found = first
        return found

    def _failed(self, error: OSError) -> HostError:
        return HostError(f"the local log in {self._directory} failed: {error}")
