"""The directory that holds one key of DirectoryRecords: its names and what they mean.

Every file in it is named by a version that never comes again, so removing a name that was seen
once is safe for ever: whoever slept between looking and removing hits nothing newer.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.records.durable_files import DurableFiles
from backends.records.versions import Version

YOUNG = "young"


@dataclass(frozen=True)
class Listing:
    """What one look at a key's directory showed. Names of other make are nobody's business."""

    current: Version | None = None
    dead: Version | None = None
    values: frozenset[Version] = frozenset()
    young: bool = False

    @classmethod
    def of(cls, names: Iterable[str]) -> "Listing":
        """Two tokens are seen when the directory was read during a rename: the younger counts."""
        found: dict[str, list[Version]] = {"cur": [], "dead": [], "val": []}
        young = False
        for name in names:
            role, _, text = name.partition(".")
            version = Version.parse(text)
            young = young or name == YOUNG
            if version and role in found:
                found[role].append(version)
        current, dead = (
            max(found[role], key=lambda v: v.number, default=None) for role in ("cur", "dead")
        )
        if current and dead:
            current = None
        return cls(current, dead, frozenset(found["val"]), young)

    @property
    def token(self) -> Version | None:
        """The version that the token carries, of a live or of a dead key."""
        return self.current or self.dead

    def values_before(self, version: Version) -> list[Version]:
        """The values that `version` has overtaken: the one it replaced, and those that lost.
        A value whose number is reached without it can never become current any more."""
        return [v for v in self.values if v.number <= version.number and v != version]


class KeyDirectory:
    """One key's directory. Methods raise OSError as the file system does."""

    def __init__(self, path: Path, files: DurableFiles) -> None:
        self.path = path
        self._files = files

    def list(self) -> Listing:
        """One look; FileNotFoundError when the directory is not there."""
        return Listing.of(self._files.names(self.path))

    def read(self, version: str) -> bytes:
        """The sealed value of a version."""
        return self._files.read(self.path / f"val.{version}")

    def write(self, version: str, content: bytes) -> None:
        """Make the value file of a version, its bytes durable; nothing stays when it fails."""
        path = self.path / f"val.{version}"
        try:
            self._files.write_new(path, content)
        except OSError:
            with suppress(OSError):
                self._files.unlink(path)
            raise

    def sync(self) -> None:
        """Make the names durable."""
        self._files.sync_directory(self.path)

    def settle(self, listing: Listing) -> None:
        """Make durable what `listing` showed, unless its writer certainly has done so: writers
        drop the replaced value, and the mark of youth, only afterwards."""
        token = listing.token
        if token and listing.values_before(token):
            self.sync()
        if listing.young:
            self._files.sync_directory(self.path.parent)

    def furnish(self, version: str, content: bytes) -> None:
        """Make this directory, whole and durable, as that of a new key."""
        self._files.make_directory(self.path)
        try:
            self.write(version, content)
            self._files.write_new(self.path / f"cur.{version}", b"")
            self._files.write_new(self.path / YOUNG, b"")
            self.sync()
        except OSError:
            with suppress(OSError):
                self.erase()
            raise

    def come_of_age(self) -> None:
        """Record that the key's own name is durable."""
        with suppress(FileNotFoundError):
            self._files.unlink(self.path / YOUNG)

    def drop_values(self, versions: Iterable[Version]) -> None:
        """Remove values that are not, and never will be, current."""
        for version in versions:
            with suppress(FileNotFoundError):
                self._files.unlink(self.path / f"val.{version}")

    def bury(self, listing: Listing) -> None:
        """Remove what is left of a key that `listing` showed dead or without a token. Its dead
        token goes last, so that an interrupted burial is still seen as one."""
        if any(self._files.exists(self.path / f"cur.{value}") for value in listing.values):
            return
        self.settle(listing)
        names = [f"val.{value}" for value in listing.values]
        names += [YOUNG] * listing.young + [f"dead.{listing.dead}"] * bool(listing.dead)
        for name in names:
            with suppress(FileNotFoundError):
                self._files.unlink(self.path / name)
        with suppress(FileNotFoundError):
            self._files.remove_directory(self.path)

    def tidy(self, listing: Listing) -> bool:
        """Remove what nothing refers to any more; whether there was something."""
        if listing.current is None:
            with suppress(OSError):
                self.bury(listing)
            return True
        self.settle(listing)
        return self.drop_settled(listing, listing.current)

    def drop_settled(self, listing: Listing, current: Version) -> bool:
        """Remove what `listing` showed and `current`, which is durable, has overtaken."""
        overtaken = listing.values_before(current)
        self.drop_values(overtaken)
        if listing.young:
            self.come_of_age()
        return bool(overtaken or listing.young)

    def erase(self) -> None:
        """Remove a directory that never was, or no longer is, in a key's place."""
        for name in self._files.names(self.path):
            self._files.unlink(self.path / name)
        self._files.remove_directory(self.path)
