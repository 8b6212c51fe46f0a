"""Copies of files and directory trees: shared blocks where the file system can, else every byte.

A shared copy (FICLONE) is made in a moment, of any size, and takes no room until one of the two
changes. What is not shared is checked for room first, and then read and written. It is never handed
to the storage as copy_file_range(2): below FUSE that is only as good as every layer there, and
GlusterFS has layers that do not know it (its issues 4045 and 4454). Nothing here is given its final
name; all of it is durable when a function returns.
"""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from backends.errors import HostError, NoSpace
from backends.host import files
from backends.host.programs import run
from backends.host.waiting import moment
from backends.progress import tell

FICLONE = 0x40049409
_CHUNK = 1024**2
_TREE_SECONDS = 12 * 3600.0
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS)
_MARGIN = 1024**2


def copy_file(source: Path, new: Path, *, seconds: float | None = None) -> None:
    """Make `new`, which must not exist, with the content of `source`; holes stay holes. What is
    copied byte by byte is told (`progress`).

    NoSpace when there is not enough room, HostError when bytes had to be copied one by one and
    that took more than `seconds`. An unfinished `new` may be left."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not _shared(reading, writing):
                require_room(new.parent, os.fstat(reading).st_blocks * 512)
                _copied(reading, writing, seconds)
            os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_tree(source: Path, new: Path) -> None:
    """Make `new`, which must not exist, like the directory `source` with everything below it:
    owners, permissions, times, links, devices, extended attributes, holes. Nobody changes `source`
    meanwhile. Told every second (`progress`), unless blocks are shared. NoSpace when there is not
    enough room. An unfinished `new` may be left."""
    share, total = shares_blocks(new.parent), 0
    if not share:
        total = used(source)
        require_room(new.parent, total)
    reflink = f"--reflink={'auto' if share else 'never'}"  # never: nor copy_file_range
    arguments = ["--archive", reflink, "--sparse=auto", "--one-file-system"]
    copy = ["cp", *arguments, "--no-target-directory", "--", str(source), str(new)]

    def watch(pid: int) -> None:
        if total:
            tell(min(_written(pid), total), total)

    run(copy, seconds=_TREE_SECONDS, watch=watch)
    sync_tree(new)


def shares_blocks(directory: Path) -> bool:
    """Whether the file system of `directory` can make a copy that shares blocks."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        other = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            return _shared(descriptor, other)
        finally:
            os.close(other)
    finally:
        os.close(descriptor)


def require_room(directory: Path, needed: int) -> None:
    """Raise NoSpace unless the file system of `directory` has so many bytes, and a few more."""
    facts = os.statvfs(directory)
    free = facts.f_bavail * facts.f_frsize
    if free < needed + _MARGIN:
        raise NoSpace(f"a copy takes {needed} bytes, but {directory} has {free} left; free some")


def used(path: Path) -> int:
    """Bytes that a file, or a directory with everything below it, takes; shared ones included."""
    total, seen = path.lstat().st_blocks * 512, set()
    for entry in _entries(path) if path.is_dir() else ():
        facts = entry.stat(follow_symlinks=False)
        if facts.st_nlink == 1 or stat.S_ISDIR(facts.st_mode) or facts.st_ino not in seen:
            seen.add(facts.st_ino)
            total += facts.st_blocks * 512
    return total


def sync_tree(path: Path) -> None:
    """Make a directory with everything below it durable."""
    for entry in _entries(path):
        if entry.is_dir(follow_symlinks=False):
            files.sync_directory(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            files.sync_file(Path(entry.path))
    files.sync_directory(path)


def _entries(path: Path) -> Iterator["os.DirEntry[str]"]:
    """Everything below a directory; no symbolic link is followed."""
    left = [str(path)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)


def _shared(reading: int, writing: int) -> bool:
    try:
        fcntl.ioctl(writing, FICLONE, reading)
    except OSError as error:
        if error.errno in _CANNOT_SHARE:
            return False
        raise
    return True


def _copied(reading: int, writing: int, seconds: float | None) -> None:
    began = moment()
    facts, done = os.fstat(reading), 0
    size, total = facts.st_size, facts.st_blocks * 512
    os.ftruncate(writing, size)
    sys.audit("kedge.copy", size)
    for start, end in _filled(reading, size):
        while start < end:
            chunk = os.pread(reading, min(_CHUNK, end - start), start)
            if not chunk:
                raise HostError("the file became shorter while it was copied")
            written = os.pwrite(writing, chunk, start)
            start, done = start + written, done + written
            tell(done, max(done, total))
            if seconds is not None and moment() - began > seconds * 1000:
                raise HostError(
                    f"{end} bytes could not be copied within {seconds:g} s, and this file system "
                    "cannot share them; take the snapshot while nobody has the volume mounted"
                )


def _written(pid: int) -> int:
    """Bytes that a program has written; 0 when it has ended."""
    try:
        counters = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return 0
    return int(counters.partition("wchar: ")[2].split()[0])


def _filled(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: from, to."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
