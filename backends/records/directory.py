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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from backends.errors import Conflict, Damaged, Unavailable
from backends.records.base import Record, Records, checked_key, checked_value, is_key
from backends.records.durable_files import DurableFiles
from backends.records.envelopes import seal, unseal
from backends.records.key_directory import KeyDirectory, Listing
from backends.records.root import FULL, Root
from backends.records.sweeping import GRACE, sweep
from backends.records.versions import Version

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


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
        self._root = Root(root, files or DurableFiles(), nonce, sleep)

    def get(self, key: str) -> Record | None:
        """See Records. What it returns survives a power cut, as far as the disks keep theirs."""
        place = self._root.place(key)
        with self._root.asked(key):
            for _ in self._root.attempts():
                listing = self._root.look(place)
                place.settle(listing)
                if listing.current is None:
                    return None
                with suppress(FileNotFoundError):
                    version = str(listing.current)
                    return Record(key, unseal(key, version, place.read(version)), version)
            if self._root.look(place).current == listing.current:
                raise Damaged(f"record {key} lost the value of its version {listing.current}")
            raise Unavailable(f"record {key} changes faster than it can be read; try again")

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """See Records. NoSpace when the file system is full; then nothing was written."""
        checked_value(checked_key(key), value)
        with self._root.asked(key):
            if expected is None:
                return self._create(key, value)
            return self._replace(key, value, expected)

    def delete(self, key: str, *, expected: str) -> None:
        """See Records."""
        place = self._root.place(key)
        with self._root.asked(key):
            old, _ = self._expect(key, place, expected)
            end = old.child(self._root.nonce())
            self._move_token(key, place, old, end, "dead")
            self._make_durable(key, place)
            with suppress(OSError):
                place.bury(self._root.look(place))

    def keys(self, kind: str) -> list[str]:
        """See Records. A key whose removal was interrupted is listed until it is swept."""
        directory = self._root.kind(kind)
        with self._root.asked(kind):
            found = (f"{kind}/{name}" for name in self._root.names(directory))
            return sorted(key for key in found if is_key(key))

    def stamps(self, kind: str) -> dict[str, str]:
        """See Records. Costs one listing per key, no reading."""
        directory = self._root.kind(kind)
        found = {}
        for key in self.keys(kind):
            with self._root.asked(key):
                if version := self._stamp(directory, key):
                    found[key] = version
        return found

    def _stamp(self, directory: Path, key: str) -> str | None:
        """The current version, by one look without much thought when that look is clear."""
        names = self._root.names(directory / key.partition("/")[2])
        tokens = [name for name in names if name.startswith(("cur.", "dead."))]
        if len(tokens) == 1 and tokens[0].startswith("cur."):
            return tokens[0].removeprefix("cur.")
        current = self._root.look(self._root.place(key)).current
        return str(current) if current else None

    def sweep(self, grace: float = GRACE) -> int:
        """Remove what killed processes left behind; see `sweeping`."""
        return sweep(self._root, grace)

    def _create(self, key: str, value: bytes) -> Record:
        place = self._root.place(key)
        self._refuse_present(key, self._root.look(place))
        self._root.prepare(place.path.parent)
        version = Version(1, self._root.nonce())
        making = KeyDirectory(self._root.fresh(place.path.parent, ".new"), self._root.files)
        making.furnish(str(version), seal(key, str(version), value))
        for _ in self._root.attempts():
            if self._settled_in(key, making, place, version):
                self._root.files.sync_directory(place.path.parent)
                with suppress(OSError):
                    place.come_of_age()
                return Record(key, value, str(version))
        making.erase()
        raise Unavailable(f"record {key} is being removed and made too fast; try again")

    def _settled_in(
        self, key: str, making: KeyDirectory, place: KeyDirectory, version: Version
    ) -> bool:
        """Rename `making` to `place`: True when it is there, False to try again."""
        try:
            self._root.files.rename(making.path, place.path)
        except OSError as error:
            listing = self._root.look(place)
            if listing.token and listing.token.descends(version):
                return True
            if error.errno in FULL or (error.errno in _OCCUPIED and listing.current):
                making.erase()
            if error.errno not in _OCCUPIED:
                raise
            self._refuse_present(key, listing)
            with suppress(OSError):
                place.bury(listing)
            return False
        return True

    def _replace(self, key: str, value: bytes, expected: str) -> Record:
        place = self._root.place(key)
        old, listing = self._expect(key, place, expected)
        new = old.child(self._root.nonce())
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
        listing = self._root.look(place)
        if listing.current is None or str(listing.current) != expected:
            place.settle(listing)
            raise Conflict(f"record {key} is no longer at version {expected}; read it again")
        place.settle(listing)
        return listing.current, listing

    def _move_token(
        self, key: str, place: KeyDirectory, old: Version, new: Version, to: str
    ) -> None:
        """Make `new` follow `old`, or raise Conflict, or Unavailable if that cannot be known."""
        for _ in self._root.attempts():
            try:
                self._root.files.rename(place.path / f"cur.{old}", place.path / f"{to}.{new}")
                return
            except OSError as error:
                failure = error
            token = self._root.look(place).token
            if token and token.descends(new):
                return
            if token and token.number >= new.number and token.descends(old):
                place.drop_values([new])
                raise Conflict(f"record {key} was changed by another writer; read it again")
            if token != old or failure.errno != errno.ENOENT:
                break
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

    def _refuse_present(self, key: str, listing: Listing) -> None:
        if listing.current:
            raise Conflict(f"record {key} is there already; read it")
