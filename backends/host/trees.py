"""Deleting directory trees that somebody else filled: of any depth and size, with any names."""

import contextlib
import errno
import os
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from backends.errors import InUse
from backends.host import mountinfo

_CHUNK = 1000


def refuse_mounts_below(path: Path) -> None:
    """Raise InUse, naming the place, when something is mounted on or below `path`."""
    resolved = os.path.realpath(path)
    for mount in mountinfo.read():
        if mount.point == resolved or mount.point.startswith(resolved + "/"):
            raise InUse(f"{mount.point} is a mount; unmount it before {path} can be deleted")


def delete(path: Path) -> None:
    """Delete a directory and everything below it; absent: does nothing.

    No symbolic link is followed. A mount is never crossed: the kernel refuses to remove what
    something is mounted on, and nothing is opened before that was tried. Directories are moved up
    before they are emptied, so that neither depth nor path length is limited.
    """
    refuse_mounts_below(path)
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return
    try:
        names = (f".moved-{number}" for number in count())
        while chunk := _some(descriptor):
            for entry, is_directory in chunk:
                if not is_directory:
                    _unlink(entry, descriptor)
                elif not _removed(entry, descriptor):
                    _empty(entry, descriptor, names)
    finally:
        os.close(descriptor)
    _removed(str(path), None)


def _empty(name: str, top: int, names: Iterator[str]) -> None:
    """Delete the files of one directory, move its directories up to `top`, remove it."""
    try:
        descriptor = _open(name, top)
    except FileNotFoundError:
        return
    try:
        while chunk := _some(descriptor):
            for entry, is_directory in chunk:
                if not is_directory:
                    _unlink(entry, descriptor)
                elif not _removed(entry, descriptor):
                    _move(entry, descriptor, top, names)
    finally:
        os.close(descriptor)
    _removed(name, top)


def _move(entry: str, source: int, top: int, names: Iterator[str]) -> None:
    for name in names:
        try:
            os.rename(entry, name, src_dir_fd=source, dst_dir_fd=top)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            continue  # taken by what an earlier attempt moved, or by a file of that name
        return


def _open(name: str | Path, directory: int | None = None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=directory)


def _some(descriptor: int) -> list[tuple[str, bool]]:
    """Some entries of a directory: name, and whether it is a directory."""
    with os.scandir(descriptor) as entries:
        return [(e.name, e.is_dir(follow_symlinks=False)) for e in islice(entries, _CHUNK)]


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _removed(name: str, directory: int | None) -> bool:
    """Remove a directory. False: it is not empty. EBUSY when something is mounted on it."""
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True
