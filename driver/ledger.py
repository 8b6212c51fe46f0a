"""What this node has promised: in memory for every reader, on disk before it is acted on.

One row per volume that is not simply at rest. The ledger never decides alone: at start it is
compared with the kernel and the backends (`recovery`). So a file that cannot be trusted is not
repaired but set aside and begun anew, and everything it said is found again from those two. A file
that cannot be written stops new promises (`change` raises), never the end of one (`note`).
"""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from backends.claims import Claim
from backends.errors import HostError, KedgeError
from driver.ledger_file import LedgerFile, Row, Untrusted, move_aside
from driver.lifecycle import Entry, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promise:
    """A volume's entry, with what is needed to find the volume again after a restart."""

    name: str
    profile: str
    uuid: str
    entry: Entry
    device: str = ""
    root: str = ""
    claim: Claim | None = None
    """The right under which it was attached; None where no other node could write."""

    def holding(self, entry: Entry) -> "Promise":
        """The same volume with another entry."""
        return replace(self, entry=entry)


Step = Callable[[Promise | None], Promise]
"""From the row as it is (None: at rest) to the row as it shall be."""


class Ledger:
    """Thread-safe. Readers never wait, not even for a disk that hangs."""

    def __init__(self, path: Path) -> None:
        """Read the file or make it; cannot fail. Without a usable file the ledger begins empty,
        `trouble` says why, and every write tries again."""
        self._path = path
        self._writing = threading.Lock()
        self._promises: dict[str, Promise] = {}
        self._file: LedgerFile | None = None
        self._behind: set[str] = set()
        """Names whose row on disk may be older than the one in memory."""
        self.set_aside: Path | None = None
        """Where an untrusted predecessor was moved, or None."""
        self.trouble = ""
        """Why the file cannot be written now; empty when it can."""
        try:
            self._promises = self._open()
        except KedgeError as error:
            self._troubled(error)

    def promises(self) -> dict[str, Promise]:
        """All rows, by volume name."""
        return dict(self._promises)

    def get(self, name: str) -> Promise | None:
        """The row of one volume; None when it is at rest or unknown."""
        return self._promises.get(name)

    def change(self, name: str, step: Step) -> Promise:
        """Replace the volume's row by what `step` makes of it, and return that; on disk when this
        returns. When the disk refuses, HostError or NoSpace is raised and nothing has changed."""
        with self._writing:
            changed = step(self._promises.get(name))
            self._save({name: changed})
            self._remember(changed)
            return changed

    def note(self, name: str, step: Step) -> Promise:
        """As `change`, for what has happened already and must not be refused: when the disk
        does, it is written later. Until then a crash would bring the old row back, which recovery
        does not believe without the kernel."""
        with self._writing:
            changed = step(self._promises.get(name))
            self._remember(changed)
            with suppress(KedgeError):
                self._save({name: changed})
            return changed

    def amend(self, promise: Promise, step: Callable[[Promise], Promise]) -> Promise | None:
        """As `note`, as long as the volume's row is still of the same volume; None when it is
        not: what has come to rest meanwhile is not brought back."""
        with self._writing:
            row = self._promises.get(promise.name)
            if row is None or row.uuid != promise.uuid:
                return None
            changed = step(row)
            self._remember(changed)
            with suppress(KedgeError):
                self._save({row.name: changed})
            return changed

    def catch_up(self) -> None:
        """Write what is still to be written, if the disk lets us."""
        with self._writing:
            if self._behind or self._file is None:
                with suppress(KedgeError):
                    self._save({})

    def close(self) -> None:
        """An orderly end; writes are refused from now on."""
        with self._writing:
            if self._file is not None:
                self._file.close()

    def _remember(self, promise: Promise) -> None:
        if _at_rest(promise):
            self._promises.pop(promise.name, None)
        else:
            self._promises[promise.name] = promise

    def _open(self) -> dict[str, Promise]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(f"{error}; make the state directory writable") from error
        try:
            return self._read()
        except Untrusted as reason:
            self._set_aside(reason)
        try:
            return self._read()
        except Untrusted as reason:
            raise HostError(
                f"the disk of {self._path} returns other bytes than written"
            ) from reason

    def _read(self) -> dict[str, Promise]:
        self._file = LedgerFile(self._path)
        return {name: _promise(row) for name, row in self._file.rows.items()}

    def _save(self, changed: dict[str, Promise]) -> None:
        """Write `changed` and whatever is behind. Called with the lock held."""
        try:
            self._put(changed)
        except KedgeError as error:
            self._behind |= set(changed)
            self._troubled(error)
            raise
        self._behind.clear()
        if self.trouble:
            log.info("the ledger is written again")
        self.trouble = ""

    def _put(self, changed: dict[str, Promise]) -> None:
        if self._file is not None:
            try:
                self._file.put(self._rows(self._behind, changed))
                return
            except Untrusted as reason:  # it went bad under us; memory knows better
                self._set_aside(reason)
        self._open()
        if self._file is not None:  # always: `_open` raises otherwise
            self._file.put(self._rows({*self._file.rows, *self._promises}, changed))

    def _rows(self, names: set[str], changed: dict[str, Promise]) -> dict[str, Row | None]:
        rows = {name: _row(self._promises.get(name)) for name in names}
        return {**rows, **{name: _row(promise) for name, promise in changed.items()}}

    def _set_aside(self, reason: Untrusted) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self.set_aside = move_aside(self._path)
        log.error("the ledger cannot be trusted (%s); it is now %s", reason, self.set_aside)

    def _troubled(self, error: KedgeError) -> None:
        if str(error) != self.trouble:  # once, not at every try
            log.error("%s", error)
        self.trouble = str(error)


def _at_rest(promise: Promise) -> bool:
    return promise.entry.state in (State.ABSENT, State.DETACHED)


def _row(promise: Promise | None) -> Row | None:
    if promise is None or _at_rest(promise):
        return None
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
        _claim_text(promise.claim),
    )


def _promise(row: Row) -> Promise:
    name, profile, uuid, state, holders, device, root, claim = row
    try:
        entry = Entry(State(state), MappingProxyType(json.loads(holders)))
        held = Claim(uuid, **json.loads(claim)) if claim else None
    except (ValueError, TypeError) as error:
        raise Untrusted(f"row of volume {name!r}: {error}") from error
    return Promise(name, profile, uuid, entry, device, root, held)


def _claim_text(claim: Claim | None) -> str:
    """Without what the storage keeps better: the body, and who was to be fenced."""
    if claim is None:
        return ""
    return json.dumps({"node": claim.node, "session": claim.session, "epoch": claim.epoch})
