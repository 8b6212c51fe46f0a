"""The directory that all keys lie in: where they lie, how it is looked at, what refusals mean."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from backends.errors import NoSpace, Unavailable
from backends.records.base import checked_key
from backends.records.durable_files import DurableFiles
from backends.records.key_directory import KeyDirectory, Listing

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATIENCE = (0.001, 0.004, 0.02, 0.1, 0.3, 0.5)
"""Seconds between attempts that lost a race. Each loss means that somebody else advanced."""


@dataclass(frozen=True)
class Root:
    """`path` must exist and is never made."""

    path: Path
    files: DurableFiles
    nonce: Callable[[], str]
    sleep: Callable[[float], None]
    _known_kinds: set[Path] = field(default_factory=set)

    def place(self, key: str) -> KeyDirectory:
        """Where a key lies, whether it is there or not. Invalid when `key` is not well-formed."""
        kind, _, name = checked_key(key).partition("/")
        return KeyDirectory(self.path / kind / name, self.files)

    def kind(self, kind: str) -> Path:
        """Where the keys of a kind lie."""
        return self.place(f"{kind}/any").path.parent

    def prepare(self, kind: Path) -> None:
        """Make the directory of a kind, durable; there already: nothing."""
        if kind in self._known_kinds:
            return
        self.check()
        with suppress(FileExistsError):
            self.files.make_directory(kind)
        self.files.sync_directory(self.path)
        self._known_kinds.add(kind)

    def fresh(self, directory: Path, purpose: str) -> Path:
        """A path that nothing else ever had; no key has such a name."""
        return directory / f"{purpose}.{self.nonce()}"

    def names(self, directory: Path) -> list[str]:
        """What lies in a directory; nothing when it is not there. Unavailable without the root."""
        try:
            return self.files.names(directory)
        except FileNotFoundError:
            self.check()
            return []

    def look(self, place: KeyDirectory) -> Listing:
        """A listing that can be believed. One without any token is believed when it was the same
        three times: a directory read while a rename runs may show neither name."""
        seen: list[Listing] = []
        for _ in self.attempts():
            try:
                seen.append(place.list())
            except FileNotFoundError:
                self.check()
                return Listing()
            if seen[-1].token or seen[-3:] == seen[-1:] * 3:
                return seen[-1]
        raise Unavailable(f"{place.path} changes faster than it can be listed; try again")

    def attempts(self) -> Iterator[None]:
        """As often as something is tried that loses races, with pauses in between."""
        for pause in _PATIENCE:
            yield
            self.sleep(pause)

    def check(self) -> None:
        """Unavailable when the root is not there."""
        if not self.files.exists(self.path):
            raise Unavailable(f"the directory {self.path} is not there; is it mounted?")

    @contextmanager
    def asked(self, subject: str) -> Iterator[None]:
        """Raise what an OSError of the block means for whoever asked for the record."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise NoSpace(f"no room for record {subject} in {self.path}") from error
            raise Unavailable(f"record {subject} in {self.path}: {error}") from error
