"""The few file system calls that records in a directory are made of.

They are one class so that a test can stand in for the file system: stop between any two calls,
lose the reply of one, cut the power and keep only what was made durable.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP}


@contextmanager
def suppress_stale() -> Iterator[None]:
    """Swallow ESTALE: what a handle pointed to is no longer there."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise


class DurableFiles:
    """The real file system. Every method raises OSError as the system call did."""

    def names(self, directory: Path) -> list[str]:
        """Everything in `directory`, in no order. ESTALE (NFS: it was replaced while it was
        read) is asked again."""
        for _ in range(3):
            with suppress_stale():
                return os.listdir(directory)
        return os.listdir(directory)

    def exists(self, path: Path) -> bool:
        """Whether `path` is there. Raises OSError when that cannot be told."""
        try:
            os.stat(path)
        except FileNotFoundError:
            return False
        return True

    def age(self, path: Path, *, than: Path) -> float:
        """Seconds by which `path` was changed before `than`, both by the file server's clock."""
        return os.stat(than).st_mtime - os.stat(path).st_mtime

    def read(self, path: Path) -> bytes:
        """All bytes of a file; FileNotFoundError also when it was removed while it was read."""
        with suppress_stale():
            return path.read_bytes()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def write_new(self, path: Path, content: bytes) -> None:
        """Make a file that was not there, its content on stable storage."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def make_directory(self, path: Path) -> None:
        """Make one directory; FileExistsError when it is there."""
        os.mkdir(path, 0o700)

    def rename(self, old: Path, new: Path) -> None:
        """rename(2): atomic; replaces an empty directory, never one with content."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove one file."""
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        """Remove one directory if it is empty."""
        os.rmdir(path)

    def sync_directory(self, path: Path) -> None:
        """Put the names in a directory on stable storage. File systems that have no such call
        for directories (they answer EINVAL) write names through by themselves."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(handle)
