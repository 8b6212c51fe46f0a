"""What a node had written and not yet sent when another one took its disk: read, never changed.

An orphan is the local log of a session that the history has passed by. It follows the record with
which that session's part of the history ends. As long as the store still leads there (until the
next owner's first checkpoint), the whole branch can be shown; later only the blocks in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.disk.core.coding import Coder
from backends.disk.core.head import Head
from backends.disk.core.overlay import Overlay
from backends.disk.inspection.peeking import peek
from backends.disk.journal import Journal
from backends.disk.log.locallog import Binding, Files, LocalLog, binding_of
from backends.disk.log.logfiles import LogFiles
from backends.errors import Damaged, HostError
from backends.stores.base import Store


def branch_name(binding: Binding) -> str:
    """What the orphan of that session is called."""
    return f"{binding.epoch:x}-{binding.session[:8]}"


def orphan_name(branch: str) -> str:
    """Of the directory beside the local log in which an orphan is kept."""
    return f"orphan-{branch}"


class Unchanged:
    """Files of which nothing is removed or written, whatever is asked."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def names(self) -> list[str]:
        """See Files."""
        return self._files.names()

    def read(self, name: str) -> bytes:
        """See Files."""
        return self._files.read(name)

    def pread(self, name: str, offset: int, length: int) -> bytes:
        """See Files."""
        return self._files.pread(name, offset, length)

    def allocate(self, name: str, size: int) -> None:
        """Refused."""
        raise HostError(f"{name} is kept as it is")

    def rename(self, old: str, new: str) -> None:
        """Refused."""
        raise HostError(f"{old} is kept as it is")

    def write(self, name: str, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Refused."""
        raise HostError(f"{name} is kept as it is")

    def zero(self, name: str, offset: int, length: int) -> None:
        """Refused."""
        raise HostError(f"{name} is kept as it is")

    def put(self, name: str, content: bytes) -> None:
        """Refused."""
        raise HostError(f"{name} is kept as it is")

    def remove(self, name: str) -> None:
        """Not done."""

    def sync(self, names: Sequence[str], *, directory: bool = False) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """See Files."""
        self._files.close()


def unsent(directory: Path, uuid: str) -> bool:
    """Whether the local log in a directory holds what is not known to be in the store, or cannot
    be read."""
    if not directory.is_dir():
        return False
    files = LogFiles(directory)
    try:
        binding = binding_of(files, uuid)
        return binding is not None and LocalLog(Unchanged(files), binding, 1).holds_unsent()
    except (Damaged, HostError):
        return True
    finally:
        files.close()


@dataclass(frozen=True)
class Branch:
    """An orphan, and what it lies over."""

    log: LocalLog
    over: Overlay
    """What was never sent."""
    view: Journal
    """What it follows; a disk of zeros when `whole` is false."""
    whole: bool


def branch(
    store: Store,
    head: Head,
    coder: Coder,
    wait: Callable[[int], None],
    *,
    files: Files,
    binding: Binding,
) -> Branch:
    """Read an orphan. Damaged when it cannot be read."""
    view = peek(store, head, coder, wait, until=binding.epoch)
    held = view.tail.last
    whole = held is None or held.epoch <= binding.epoch
    sent = [
        one.upto
        for one in view.tail.holders
        if (one.epoch, one.session.hex()) == (binding.epoch, binding.session)
    ]
    if not whole:
        view = peek(store, head, coder, wait, until=-1)
    log = LocalLog(Unchanged(files), binding, 1)
    over, upto = Overlay(), sent[0] if sent and whole else 0
    for entry in log.recover(upto, for_good=False):
        if entry.seq > upto:
            over.take(entry)
    return Branch(log, over, view, whole)
