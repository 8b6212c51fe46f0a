"""Files and directories that are there after a power cut, or not at all."""

import os
import sys
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, mode: int = 0o755) -> None:
    """Make a directory and its missing parents (mode 0755), durably; present: left as it is."""
    if not path.parent.is_dir():
        make_directory(path.parent)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    sync_directory(path.parent)


def make_owned_directory(path: Path, *, uid: int, gid: int, mode: int) -> None:
    """Make a directory that appears with its owner and mode, or not at all; present: left as it
    is. An earlier attempt's leftover beside it is used."""
    if path.is_dir():
        return
    new = path.with_name(f".new-{path.name}")
    new.mkdir(0o700, exist_ok=True)
    os.chown(new, uid, gid)
    new.chmod(mode)
    try:
        new.rename(path)
    except OSError:
        if not path.is_dir():  # another node was faster
            raise
        return
    sync_directory(path.parent)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only we can read; what was there is replaced. Not durable."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def write_once(path: Path, content: bytes, *, temporary: str) -> bool:
    """Make a file that is complete or absent. False: it was there already and is unchanged.
    `temporary`: a name in the same directory that nobody else uses."""
    new = path.with_name(temporary)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        sys.audit("kedge.write", str(new))
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return link_into_place(new, path)


def replace(path: Path, content: bytes) -> None:
    """Make a file (mode 0600) say this, durably; a reader sees the old content or the new. The
    caller keeps others from doing the same at the same time."""
    new = path.with_name(f".new-{path.name}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        sys.audit("kedge.write", str(new))
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    sync_directory(path.parent)


def link_into_place(new: Path, path: Path) -> bool:
    """Give a complete file its name, durably. False: the name was taken, and `new` is dropped."""
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    finally:
        new.unlink()
    sync_directory(path.parent)
    return True


def make_sparse(path: Path, size: int) -> None:
    """Make a file of `size` bytes that takes no room yet. It must not exist."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
