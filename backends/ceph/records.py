"""Records on RADOS: one object per kind, a record is two entries of its map.

    records.<kind>      v.<name> = version          what is listed and compared
                        d.<name> = sealed value     what is read

A change is one operation on one object, so it happens as a whole or not at all: the map must show
the expected version (an absent entry compares as empty), then both entries are written. RADOS
recognises an operation that it is sent again, so a lost reply is found out by librados; what stays
unknown after the timeout is Unavailable.
"""

import sys
from collections.abc import Callable
from typing import Any

from backends.ceph import bindings
from backends.ceph.cluster import NAMESPACE, Cluster
from backends.ceph.failures import Absent, explained
from backends.errors import Conflict
from backends.records.base import Record, Records, checked_key, checked_value
from backends.records.envelopes import seal, unseal

_PAGE = 1000


class RadosRecords(Records):
    """The pool must be replicated: others have no maps."""

    def __init__(self, cluster: Cluster, nonce: Callable[[], str]) -> None:
        """`nonce`: text that nobody else ever gets; each version is one."""
        self._cluster = cluster
        self._nonce = nonce

    def get(self, key: str) -> Record | None:
        """See Records. Damaged when the value does not match its checksum."""
        kind, name = _split(key)
        try:
            found = self._read(kind, f"read record {key}", ("v." + name, "d." + name))
        except Absent:
            return None
        if not found:
            return None
        version = found["v." + name].decode()
        return Record(key, unseal(key, version, found["d." + name]), version)

    def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
        """See Records."""
        kind, name = _split(key)
        checked_value(key, value)
        version = self._nonce()
        entries = {"v." + name: version.encode(), "d." + name: seal(key, version, value)}

        def change(pool: Any, operation: Any) -> None:
            operation.new(0)
            operation.omap_cmp("v." + name, expected or "")
            pool.set_omap(operation, tuple(entries), tuple(entries.values()))

        self._write(kind, key, expected, change)
        return Record(key, value, version)

    def delete(self, key: str, *, expected: str) -> None:
        """See Records."""
        kind, name = _split(key)

        def change(pool: Any, operation: Any) -> None:
            operation.omap_cmp("v." + name, expected)
            pool.remove_omap_keys(operation, ("v." + name, "d." + name))

        try:
            self._write(kind, key, expected, change)
        except Absent:
            raise Conflict(f"record {key} is gone; read it again") from None

    def keys(self, kind: str) -> list[str]:
        """See Records."""
        return sorted(self.stamps(kind))

    def stamps(self, kind: str) -> dict[str, str]:
        """See Records. Reads the versions only, a thousand at a time."""
        kind, _ = _split(f"{kind}/any")
        found: dict[str, str] = {}
        after = ""
        while True:
            try:
                page = self._page(kind, after)
            except Absent:
                return {}
            found |= {f"{kind}/{name[2:]}": version.decode() for name, version in page.items()}
            if len(page) < _PAGE:
                return found
            after = max(page)

    def _page(self, kind: str, after: str) -> dict[str, bytes]:
        with (
            self._cluster.pool(NAMESPACE) as pool,
            explained(f"list records of {kind}"),
            bindings.rados().ReadOpCtx() as operation,
        ):
            entries, _ = pool.get_omap_vals(operation, after, "v.", _PAGE)
            pool.operate_read_op(operation, _object(kind))
            return dict(entries)

    def _read(self, kind: str, what: str, names: tuple[str, ...]) -> dict[str, bytes]:
        with (
            self._cluster.pool(NAMESPACE) as pool,
            explained(what),
            bindings.rados().ReadOpCtx() as operation,
        ):
            entries, _ = pool.get_omap_vals_by_keys(operation, names)
            pool.operate_read_op(operation, _object(kind))
            return dict(entries)

    def _write(
        self, kind: str, key: str, expected: str | None, change: Callable[[Any, Any], None]
    ) -> None:
        try:
            if expected == "":
                raise Conflict("no version is written so")
            with (
                self._cluster.pool(NAMESPACE) as pool,
                explained(f"write record {key}"),
                bindings.rados().WriteOpCtx() as operation,
            ):
                sys.audit("kedge.ceph", f"write record {key}", expected)
                change(pool, operation)
                pool.operate_write_op(operation, _object(kind))
        except Conflict as error:
            raise Conflict(
                f"record {key} is not at version {expected or 'absent'}; read it again"
            ) from error


def _split(key: str) -> tuple[str, str]:
    kind, _, name = checked_key(key).partition("/")
    return kind, name


def _object(kind: str) -> str:
    return f"records.{kind}"
