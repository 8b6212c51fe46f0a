"""The ledger's SQLite file: rows of text, believed only as a whole.

    row       name -> fields, each with its checksum
    whole     the checksums of all rows, folded into one, written in the same transaction
    open      whether a service may have written since the last orderly end: then the write-ahead
              log must be there, and a file without it is older than it says

What fails these checks is `Untrusted`; a disk that is full, read-only or broken is a HostError,
because the rows in the file may be good.
"""

import functools
import operator
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.errors import HostError, NoSpace

VERSION = 1
Row = tuple[str, ...]
"""name, profile, uuid, state, holders, device, root, claim"""

_SCHEMA = """
CREATE TABLE promises (
    name     TEXT PRIMARY KEY,
    profile  TEXT NOT NULL,
    uuid     TEXT NOT NULL,
    state    TEXT NOT NULL,
    holders  TEXT NOT NULL,  -- JSON: mount ID -> count
    device   TEXT NOT NULL,  -- with `root`, what the kernel showed when it was attached
    root     TEXT NOT NULL,
    claim    TEXT NOT NULL,  -- JSON, or empty
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE whole (checksum INTEGER NOT NULL, open INTEGER NOT NULL);
INSERT INTO whole VALUES (0, 0);
"""
_READ = "SELECT name, profile, uuid, state, holders, device, root, claim, checksum FROM promises"
_WRITE = "INSERT OR REPLACE INTO promises VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WAL_MODE = 2  # at offset 18 of the file's header
_HOST = {"PERM", "BUSY", "LOCKED", "NOMEM", "READONLY", "IOERR", "CANTOPEN", "NOLFS", "AUTH"}


class Untrusted(Exception):
    """The file is not a ledger of this version, or fails its checks."""


class LedgerFile:
    """One open file. Not thread-safe: its owner serialises the calls."""

    def __init__(self, path: Path) -> None:
        """Open or make it, and check all of it. Untrusted, HostError, NoSpace."""
        self._path = path
        with _translated(path):
            self._db, fresh = _connect(path)
            try:
                self.rows: Mapping[str, Row] = _prepared(self._db, path, fresh)
            except BaseException:
                self._db.close()
                raise
        self._checksums = {name: _checksum(row) for name, row in self.rows.items()}

    def put(self, rows: Mapping[str, Row | None]) -> None:
        """Replace these rows (None: take away) in one transaction, on disk when this returns.
        HostError or NoSpace when it may not be; then the caller does not know which it is."""
        checksums = dict(self._checksums)
        with _translated(self._path), _transaction(self._db):
            for name, row in rows.items():
                if row is None:
                    checksums.pop(name, None)
                    self._db.execute("DELETE FROM promises WHERE name = ?", (name,))
                else:
                    checksums[name] = _checksum(row)
                    self._db.execute(_WRITE, (*row, checksums[name]))
            self._db.execute("UPDATE whole SET checksum = ?", (_fold(checksums.values()),))
        self._checksums = checksums

    def close(self) -> None:
        """An orderly end: nothing was written that is not in the file itself."""
        with suppress(sqlite3.Error):
            self._db.execute("UPDATE whole SET open = 0")
        self._db.close()


def move_aside(path: Path) -> Path:
    """Rename the file and its side files, keeping every earlier one. HostError when the disk
    refuses."""
    number = 1
    while any(path.parent.glob(f"{path.name}.untrusted-{number}*")):
        number += 1
    aside = path.with_name(f"{path.name}.untrusted-{number}")
    with _translated(path):
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    fresh = not path.exists()
    wal = path.with_name(path.name + "-wal").exists()
    if fresh and wal:
        raise Untrusted("only its write-ahead log is there")
    head = b"" if fresh else _head(path)
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        log_is_due = not fresh and head[18] == _WAL_MODE and not wal
        if log_is_due and db.execute("SELECT open FROM whole").fetchone() != (0,):
            raise Untrusted("its write-ahead log is missing")
    except BaseException:
        db.close()
        raise
    return db, fresh


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100:
        raise Untrusted("too short")  # SQLite would take an empty file for a new database
    return head


def _prepared(db: sqlite3.Connection, path: Path, fresh: bool) -> dict[str, Row]:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if fresh:
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise Untrusted(f"version {version}")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Untrusted(verdict)
    rows = _read(db)
    with _transaction(db):
        db.execute("UPDATE whole SET open = 1")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or the file would still say it is closed
    return rows


def _read(db: sqlite3.Connection) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    checksums = []
    for *row, checksum in db.execute(_READ):
        if not all(isinstance(value, str) for value in row) or _checksum(row) != checksum:
            raise Untrusted(f"row of volume {row[0]!r}")
        rows[row[0]] = tuple(row)
        checksums.append(checksum)
    whole = db.execute("SELECT checksum FROM whole").fetchall()
    if whole != [(_fold(checksums),)]:
        raise Untrusted("rows are missing")
    return rows


def _checksum(row: Sequence[str]) -> int:
    return zlib.crc32("\0".join(row).encode())


def _fold(checksums: Iterable[int]) -> int:
    return functools.reduce(operator.xor, checksums, 0)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite ends it by itself after some errors
            db.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "").split("_")[1:2]
        if code == ["FULL"]:
            raise NoSpace(
                f"the ledger {path} cannot be written: its disk is full; make room"
            ) from error
        if (code and code[0] in _HOST) or isinstance(error, sqlite3.ProgrammingError):
            raise _refused(path, error) from error
        raise Untrusted(str(error)) from error
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> HostError:
    return HostError(f"the ledger {path} cannot be used ({error}); make its disk writable")
