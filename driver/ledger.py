"""What this node has promised, on disk: written before each effect and after each outcome.

One row per volume that is not simply at rest. The ledger never decides alone: at start it is
compared with the kernel and the backends (`recovery`). So a ledger that cannot be trusted is not
repaired but set aside and begun anew, and everything it said is found again from those two.
"""

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from driver.lifecycle import Entry, State

VERSION = 1

_SCHEMA = f"""
CREATE TABLE promises (
    name     TEXT PRIMARY KEY,
    profile  TEXT NOT NULL,
    uuid     TEXT NOT NULL,
    state    TEXT NOT NULL,
    holders  TEXT NOT NULL,  -- JSON: mount ID -> count
    device   TEXT NOT NULL,  -- with `root`, what the kernel showed when it was attached
    root     TEXT NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""


class Untrusted(Exception):
    """The file is not a ledger of this version, or fails its checks."""


@dataclass(frozen=True)
class Promise:
    """A volume's entry, with what is needed to find the volume again after a restart."""

    name: str
    profile: str
    uuid: str
    entry: Entry
    device: str = ""
    root: str = ""

    def holding(self, entry: Entry) -> "Promise":
        """The same volume with another entry."""
        return replace(self, entry=entry)


class Ledger:
    """Thread-safe. Every write is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        """Open or make the ledger. One that cannot be trusted is moved aside (`set_aside`)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self.set_aside: Path | None = None
        """Where an untrusted predecessor was moved, or None."""
        try:
            self._db = _open(path)
            self._promises = {promise.name: promise for promise in _read(self._db)}
        except (sqlite3.DatabaseError, Untrusted):
            self.set_aside = _move_aside(path)
            self._db = _open(path)
            self._promises = {}

    def promises(self) -> dict[str, Promise]:
        """All rows, by volume name."""
        with self._lock:
            return dict(self._promises)

    def get(self, name: str) -> Promise | None:
        """The row of one volume; None when it is at rest or unknown."""
        with self._lock:
            return self._promises.get(name)

    def write(self, promise: Promise) -> None:
        """Replace the volume's row; a volume at rest has none."""
        at_rest = promise.entry.state in (State.ABSENT, State.DETACHED)
        with self._lock, _transaction(self._db):
            if at_rest:
                self._db.execute("DELETE FROM promises WHERE name = ?", (promise.name,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO promises VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*(fields := _fields(promise)), _checksum(fields)),
                )
            if at_rest:
                self._promises.pop(promise.name, None)
            else:
                self._promises[promise.name] = promise

    def close(self) -> None:
        """Close the file. Everything written is on disk already."""
        with self._lock:
            self._db.close()


def _open(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    if not fresh and path.stat().st_size == 0:
        raise Untrusted("empty file")  # SQLite would take it for a new database
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if fresh:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise Untrusted(f"version {version}")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Untrusted(verdict)
    except BaseException:
        db.close()
        raise
    return db


def _read(db: sqlite3.Connection) -> Iterator[Promise]:
    for *fields, checksum in db.execute("SELECT * FROM promises"):
        if _checksum(tuple(fields)) != checksum:
            db.close()
            raise Untrusted(f"row of volume {fields[0]!r}")
        name, profile, uuid, state, holders, device, root = fields
        entry = Entry(State(state), MappingProxyType(json.loads(holders)))
        yield Promise(name, profile, uuid, entry, device, root)


def _fields(promise: Promise) -> tuple[str, ...]:
    entry = promise.entry
    holders = json.dumps(dict(sorted(entry.holders.items())))
    return (
        promise.name,
        promise.profile,
        promise.uuid,
        entry.state.value,
        holders,
        promise.device,
        promise.root,
    )


def _checksum(fields: tuple[str, ...]) -> int:
    return zlib.crc32("\0".join(map(str, fields)).encode())


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _move_aside(path: Path) -> Path:
    """Rename the database and its side files, keeping every earlier one."""
    number = 1
    while (aside := path.with_name(f"{path.name}.untrusted-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside
