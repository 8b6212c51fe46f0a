"""Mount points: directories that exist only while something is mounted on them.

Made without permissions and removed with rmdir, so that nothing can be written to the host's disk
under the name of a volume, and nothing that was written is ever deleted.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from backends.errors import HostError


def make(target: Path) -> None:
    """Make an empty mount point; an empty one that is there is used. Raises HostError when
    something lies in it: an earlier writer found no mount, and mounting would hide his data."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        target.mkdir(mode=0)
        return
    except FileExistsError:
        pass
    if target.is_symlink() or not target.is_dir():
        raise HostError(f"mount point {target} is not a directory; remove it")
    found = os.listdir(target)
    if found:
        raise HostError(
            f"mount point {target} is not empty: something wrote {found[0]!r} there while no "
            "volume was mounted; move the files elsewhere, then try again"
        )
    target.chmod(0)


def clear(target: Path) -> None:
    """Remove an empty mount point. Not there, not empty or still mounted on: left alone."""
    try:
        target.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR):
            raise


@contextlib.contextmanager
def prepared(target: Path) -> Iterator[Path]:
    """A mount point for the block to mount on; removed again if the block fails."""
    make(target)
    try:
        yield target
    except BaseException:
        clear(target)
        raise
