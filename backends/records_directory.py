"""Records in a directory, right on local disks, NFS and FUSE without any lock.

    <root>/<kind>/<name>/        one key
        cur.<version>            the token: an empty file whose NAME is the current version
        val.<version>            the value of that version, sealed
        dead.<version>           instead of the token: the key is being removed
        young                    the key's own name may not be durable yet
    <root>/<kind>/.new.<nonce>   a key in the making; renamed to its place when whole

One `rename` of the token decides every change: it fails unless the expected version is the current
one, and versions never repeat. The value is durable before the rename, and the old value goes only
when the rename is durable: a reader that still sees the old value makes the change durable itself
before it believes it. docs/decisions/ says why, and how NFS has to be mounted.
"""

import errno
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.durable_files import DurableFiles
from backends.envelopes import seal, unseal
from backends.errors import Conflict, Damaged, NoSpace, Unavailable
from backends.key_directory import KeyDirectory, Listing
from backends.records import Record, Records, checked_key, checked_value, is_key
from backends.versions import Version

GRACE = 24 * 3600.0
"""Seconds before `sweep` takes a key in the making for one whose maker died."""
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PATIENCE = (0.001, 0.004, 0.02, 0.1, 0.3, 0.5)
"""Seconds between attempts that lost a race. Each loss means that somebody else advanced."""


class DirectoryRecords(Records):
    """`root` must exist and is never made: whoever passes it has checked that it is the right
    directory, mounted. Safe to use from many threads, processes and machines. A process killed at
    any point leaves nothing that another has to wait for; `sweep` collects what it left."""

    def __init__(
        self,
        root: Path,
        *,
        files: DurableFiles | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = root
        self._files = files or DurableFiles()
        self._nonce = nonce
        self._sleep = sleep
        self._known_kinds: set[Path] = set()

    def get(self, key: str) -> Record | None:
        """See Records. What it returns survives a power cut, as far as the disks keep theirs."""
        place = self._place(key)
        with self._asked(key):
            for pause in _PATIENCE:
                listing = self._look(place)
                place.settle(listing)
                if listing.current is None:
                    return None
                with suppress(FileNotFoundError):
                    version = str(listing.current)
                    return Record(key, unseal(key, version, place.read(version)), version)
                self._sleep(pause)
            if self._look(place).current == listing.current:
                raise Damaged(f"record {key} lost the value of its version {listing.current}")
            raise Unavailable(f"record {key} changes faster than it can be read; try again")

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """See Records. NoSpace when the file system is full; then nothing was written."""
        checked_value(checked_key(key), value)
        with self._asked(key):
            if expected is None:
                return self._create(key, value)
            return self._replace(key, value, expected)

    def delete(self, key: str, *, expected: str) -> None:
        """See Records."""
        place = self._place(key)
        with self._asked(key):
            old, _ = self._expect(key, place, expected)
            end = old.child(self._nonce())
            self._move_token(key, place, old, end, "dead")
            self._make_durable(key, place)
            with suppress(OSError):
                place.bury(self._look(place))

    def keys(self, kind: str) -> list[str]:
        """See Records. A key whose removal was interrupted is listed until it is swept."""
        directory = self._place(f"{kind}/any").path.parent
        with self._asked(kind):
            found = (f"{kind}/{name}" for name in self._names(directory))
            return sorted(key for key in found if is_key(key))

    def stamps(self, kind: str) -> dict[str, str]:
        """See Records. Costs one listing per key, no reading."""
        directory = self._place(f"{kind}/any").path.parent
        found = {}
        for key in self.keys(kind):
            with self._asked(key):
                if version := self._stamp(directory, key):
                    found[key] = version
        return found

    def _stamp(self, directory: Path, key: str) -> str | None:
        """The current version, by one look without much thought when that look is clear."""
        names = self._names(directory / key.partition("/")[2])
        tokens = [name for name in names if name.startswith(("cur.", "dead."))]
        if len(tokens) == 1 and tokens[0].startswith("cur."):
            return tokens[0].removeprefix("cur.")
        current = self._look(self._place(key)).current
        return str(current) if current else None

    def sweep(self, grace: float = GRACE) -> int:
        """Remove what killed processes left behind; return how many keys or makings were cleaned.

        Values that lost, and keys whose removal was interrupted, can be told from live ones for
        certain and go at once; a key in the making goes after `grace` seconds by the file
        server's clock, and a maker that wakes later than that gets Unavailable."""
        swept = 0
        with self._asked("sweep"):
            for kind in self._names(self._root):
                if not is_key(f"{kind}/any"):
                    continue
                for name in self._names(self._root / kind):
                    place = KeyDirectory(self._root / kind / name, self._files)
                    if is_key(f"{kind}/{name}"):
                        swept += place.tidy(self._look(place))
                    elif name.startswith((".new.", ".old.")):
                        swept += self._sweep_making(place, grace)
                    elif name.startswith(".now."):
                        self._files.unlink(place.path)
        return swept

    def _sweep_making(self, making: KeyDirectory, grace: float) -> bool:
        if making.path.name.startswith(".new."):
            if self._age(making) < grace:
                return False
            dropped = self._fresh(making.path.parent, ".old")
            self._files.rename(making.path, dropped)
            making = KeyDirectory(dropped, self._files)
        making.erase()
        return True

    def _age(self, place: KeyDirectory) -> float:
        now = self._fresh(place.path.parent, ".now")
        self._files.write_new(now, b"")
        try:
            return self._files.age(place.path, than=now)
        finally:
            self._files.unlink(now)

    def _create(self, key: str, value: bytes) -> Record:
        place = self._place(key)
        self._refuse_present(key, self._look(place))
        self._prepare_kind(place.path.parent)
        version = Version(1, self._nonce())
        making = KeyDirectory(self._fresh(place.path.parent, ".new"), self._files)
        making.furnish(str(version), seal(key, str(version), value))
        for pause in _PATIENCE:
            if self._settled_in(key, making, place, version):
                self._files.sync_directory(place.path.parent)
                with suppress(OSError):
                    place.come_of_age()
                return Record(key, value, str(version))
            self._sleep(pause)
        making.erase()
        raise Unavailable(f"record {key} is being removed and made too fast; try again")

    def _settled_in(
        self, key: str, making: KeyDirectory, place: KeyDirectory, version: Version
    ) -> bool:
        """Rename `making` to `place`: True when it is there, False to try again."""
        try:
            self._files.rename(making.path, place.path)
        except OSError as error:
            listing = self._look(place)
            if listing.token and listing.token.descends(version):
                return True
            if error.errno in _FULL or (error.errno in _OCCUPIED and listing.current):
                making.erase()
            if error.errno not in _OCCUPIED:
                raise
            self._refuse_present(key, listing)
            with suppress(OSError):
                place.bury(listing)
            return False
        return True

    def _replace(self, key: str, value: bytes, expected: str) -> Record:
        place = self._place(key)
        old, listing = self._expect(key, place, expected)
        new = old.child(self._nonce())
        try:
            place.write(str(new), seal(key, str(new), value))
        except FileNotFoundError:
            raise Conflict(f"record {key} was removed; read it again") from None
        place.sync()
        self._move_token(key, place, old, new, "cur")
        self._make_durable(key, place)
        with suppress(OSError):
            place.drop_settled(listing, new)
        return Record(key, value, str(new))

    def _expect(self, key: str, place: KeyDirectory, expected: str) -> tuple[Version, Listing]:
        listing = self._look(place)
        if listing.current is None or str(listing.current) != expected:
            place.settle(listing)
            raise Conflict(f"record {key} is no longer at version {expected}; read it again")
        place.settle(listing)
        return listing.current, listing

    def _move_token(
        self, key: str, place: KeyDirectory, old: Version, new: Version, to: str
    ) -> None:
        """Make `new` follow `old`, or raise Conflict, or Unavailable if that cannot be known."""
        for pause in _PATIENCE:
            try:
                self._files.rename(place.path / f"cur.{old}", place.path / f"{to}.{new}")
                return
            except OSError as error:
                failure = error
            token = self._look(place).token
            if token and token.descends(new):
                return
            if token and token.number >= new.number and token.descends(old):
                place.drop_values([new])
                raise Conflict(f"record {key} was changed by another writer; read it again")
            if token != old or failure.errno != errno.ENOENT:
                break
            self._sleep(pause)
        raise Unavailable(
            f"it is not known whether record {key} was written ({failure.strerror}); read it again"
        ) from failure

    def _make_durable(self, key: str, place: KeyDirectory) -> None:
        """Sync what was just renamed. A directory that is gone was buried, and synced before."""
        try:
            with suppress(FileNotFoundError):
                place.sync()
        except OSError as error:
            raise Unavailable(f"record {key} was written, perhaps not durably: {error}") from error

    def _look(self, place: KeyDirectory) -> Listing:
        """A listing that can be believed. One without any token is believed when it was the same
        three times: a directory read while a rename runs may show neither name."""
        seen: list[Listing] = []
        for pause in _PATIENCE:
            try:
                seen.append(place.list())
            except FileNotFoundError:
                self._check_root()
                return Listing()
            if seen[-1].token or seen[-3:] == seen[-1:] * 3:
                return seen[-1]
            self._sleep(pause)
        raise Unavailable(f"{place.path} changes faster than it can be listed; try again")

    def _refuse_present(self, key: str, listing: Listing) -> None:
        if listing.current:
            raise Conflict(f"record {key} is there already; read it")

    def _prepare_kind(self, directory: Path) -> None:
        if directory in self._known_kinds:
            return
        self._check_root()
        with suppress(FileExistsError):
            self._files.make_directory(directory)
        self._files.sync_directory(self._root)
        self._known_kinds.add(directory)

    def _place(self, key: str) -> KeyDirectory:
        kind, _, name = checked_key(key).partition("/")
        return KeyDirectory(self._root / kind / name, self._files)

    def _fresh(self, directory: Path, purpose: str) -> Path:
        return directory / f"{purpose}.{self._nonce()}"

    def _names(self, directory: Path) -> list[str]:
        try:
            return self._files.names(directory)
        except FileNotFoundError:
            self._check_root()
            return []

    def _check_root(self) -> None:
        if not self._files.exists(self._root):
            raise Unavailable(f"the directory {self._root} is not there; is it mounted?")

    @contextmanager
    def _asked(self, subject: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace(f"no room for record {subject} in {self._root}") from error
            raise Unavailable(f"record {subject} in {self._root}: {error}") from error
