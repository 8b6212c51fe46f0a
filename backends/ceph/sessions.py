"""Which clients may still write a volume: written down before a client writes its first byte and
struck out after its last, so that whoever takes over knows whom to shut out, however long the
other has been silent.

    sessions/<uuid> = {"format": 1, "epoch": 7, "clients": [CLIENT, ...]}
    CLIENT = {"node", "address", "user", "epoch", "work"}

The epoch is that of the youngest claim that began to shut others out. A claimant first reads whom
to shut out, then raises the epoch, then acts on what it read: one that slept in between and was
itself superseded finds a higher epoch and touches nobody.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from backends.errors import Busy, Conflict, Damaged, Fenced
from backends.records import Record, Records

FORMAT = 1
_KIND = "sessions"
_TRIES = 20


@dataclass(frozen=True)
class Session:
    """One client of one volume. `address` as the cluster names it: `10.0.0.7:0/3405691582`;
    `user`: whom it mounted as; `epoch`: of the claim it was started under, 0 without one; `work`:
    what the service itself does to the volume, see `working`; empty for what carries its data."""

    node: str
    address: str
    user: str = ""
    epoch: int = 0
    work: str = ""


@dataclass(frozen=True)
class _Book:
    epoch: int = 0
    clients: tuple[Session, ...] = ()


class Sessions:
    """The record of every volume."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._seen: dict[str, tuple[str, list[Session]]] = {}

    def of(self, uuid: str) -> list[Session]:
        """Every client that was not struck out."""
        return list(_decode(self._records.get(_key(uuid))).clients)

    def all(self) -> dict[str, list[Session]]:
        """The clients of every volume that has any, by uuid. Reads what has changed only."""
        seen = {}
        for key, stamp in self._records.stamps(_KIND).items():
            known = self._seen.get(key)
            if known is None or known[0] != stamp:
                known = stamp, self.of(key.partition("/")[2])
            seen[key] = known
        self._seen = seen
        return {key.partition("/")[2]: found for key, (_, found) in seen.items() if found}

    def take(self, uuid: str, epoch: int) -> None:
        """From now on no claim before `epoch` adds a client or shuts one out. Fenced when a later
        one has done this already."""
        self._change(uuid, epoch, lambda book: replace(book, epoch=epoch))

    def add(self, uuid: str, session: Session) -> None:
        """Write a client down. Fenced when a later claim has begun to shut others out."""

        def added(book: _Book) -> _Book:
            others = tuple(one for one in book.clients if one != session)
            return replace(book, clients=(*others, session))

        self._change(uuid, session.epoch, added)

    def drop(self, uuid: str, gone: Sequence[Session]) -> None:
        """Strike clients out. Not there: does nothing."""

        def dropped(book: _Book) -> _Book:
            return replace(book, clients=tuple(one for one in book.clients if one not in gone))

        self._change(uuid, 0, dropped)

    def forget(self, uuid: str) -> None:
        """Remove the record of a volume that is gone."""
        for _ in range(_TRIES):
            record = self._records.get(_key(uuid))
            if record is None:
                return None
            with contextlib.suppress(Conflict):
                return self._records.delete(record.key, expected=record.version)
        raise Busy(f"the clients of {uuid} change without end; try again")

    def _change(self, uuid: str, epoch: int, change: Callable[[_Book], _Book]) -> None:
        """`epoch` 0: of nobody who has a claim."""
        for _ in range(_TRIES):
            record = self._records.get(_key(uuid))
            book = _decode(record)
            if epoch and book.epoch > epoch:
                raise Fenced(
                    f"a claim with epoch {book.epoch} has taken the volume over from epoch {epoch}"
                )
            wanted = change(book)
            if wanted == book:
                return
            expected = record.version if record else None
            with contextlib.suppress(Conflict):
                self._records.put(_key(uuid), _encode(wanted), expected=expected)
                return
        raise Busy(f"the clients of {uuid} change without end; try again")


def _key(uuid: str) -> str:
    return f"{_KIND}/{uuid}"


def _encode(book: _Book) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(book)}).encode()


def _decode(record: Record | None) -> _Book:
    if record is None:
        return _Book()
    try:
        content = json.loads(record.value)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, this version reads {FORMAT}")
        clients = tuple(
            Session(
                str(one["node"]),
                str(one["address"]),
                str(one["user"]),
                int(one["epoch"]),
                str(one.get("work", "")),
            )
            for one in content["clients"]
        )
        return _Book(int(content["epoch"]), clients)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"record {record.key} cannot be read: {error}") from error
