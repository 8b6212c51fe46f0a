"""The operator's side, on a socket of its own: what `kedge` on the command line talks to.

JSON over HTTP, and frames (`streaming`) for what takes long. Refusals have status 409 and
{"error", "code"}; a fault has status 500.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from flask import Flask, Response, request

from backends.base import Resizable, Trash
from backends.errors import Invalid, KedgeError, NotFound, NotSupported
from backends.inspection import Progress
from backends.names import volume_name
from backends.options import Size
from backends.snapshots import Snapshot
from backends.upkeep import Rewrappable
from driver.doctor import Doctor
from driver.inventory import Known
from driver.status import View
from driver.streaming import Stream, copied, streamed
from driver.version import VERSION
from driver.volumes import Volumes

log = logging.getLogger(__name__)


def app(volumes: Volumes, doctor: Doctor) -> Flask:
    """The WSGI application for the operator's socket."""
    flask = Flask(__name__)
    desk = Desk(volumes)
    routes: list[tuple[str, str, Callable[..., Any]]] = [
        ("GET", "/version", lambda: {"version": VERSION}),
        ("GET", "/volumes", lambda: [_shown(view) for view in volumes.list()]),
        ("GET", "/unheard", lambda: volumes.inventory.unheard()),
        ("GET", "/volumes/<name>", lambda name: _shown(volumes.get(name))),
        ("POST", "/volumes/<name>/resize", lambda name: desk.resize(name, _field("size"))),
        ("POST", "/volumes/<name>/rewrap", lambda name: desk.rewrap(name, _field("key"))),
        ("POST", "/volumes/<name>/takeover", lambda name: _shown(volumes.takeover(name))),
        ("GET", "/volumes/<name>/snapshots", lambda name: desk.snapshots(name)),
        ("POST", "/volumes/<name>/snapshots", lambda name: desk.snapshot(name)),
        ("DELETE", "/volumes/<name>/snapshots/<which>", desk.remove_snapshot),
        ("POST", "/volumes/<name>/snapshots/<which>/restore", desk.go_back),
        ("POST", "/volumes/<name>/clone", lambda name: desk.clone(name, _field("source"))),
        ("POST", "/volumes/<name>/fsck", desk.fsck),
        ("POST", "/volumes/<name>/export", desk.export),
        ("POST", "/volumes/<name>/cut", desk.cut),
        ("GET", "/volumes/<name>/orphans", lambda name: desk.orphans(name)),
        ("GET", "/trash", lambda: desk.trash()),
        ("POST", "/trash/<uuid>/restore", lambda uuid: desk.restore(uuid, _field("name"))),
        ("DELETE", "/trash/<uuid>", lambda uuid: desk.purge(uuid)),
        ("GET", "/doctor", lambda: [_finding(found) for found in doctor.examine()]),
        ("GET", "/health", lambda: {"ready": volumes.ready.is_set()}),
    ]
    for method, rule, answer in routes:
        flask.add_url_rule(rule, f"{method} {rule}", answer, methods=[method])
    flask.register_error_handler(KedgeError, _refused)
    flask.register_error_handler(404, _unknown)
    flask.register_error_handler(405, _unknown)
    flask.register_error_handler(500, _fault)
    return flask


class Desk:
    """What an operator can do with volumes and Docker cannot."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def resize(self, name: str, size: str) -> dict[str, str]:
        """Grow a volume. NotFound, NotSupported, Invalid (smaller, or no size), NoSpace."""
        volume_name(name)
        try:
            wanted = Size.parse(size)
        except ValueError as error:
            raise Invalid(f"size {size[:40]!r} {error}") from None
        known = self._volumes.inventory.resolve(name)
        backend = self._volumes.backends[known.profile]
        if not isinstance(backend, Resizable):
            raise NotSupported(f"volumes of {known.profile} have no size to change")
        with self._volumes.locks.hold(name, "resizing", self._volumes.settings.call_seconds):
            promise = self._volumes.ledger.get(name)
            attachment = self._volumes.attachments.shown(promise) if promise else None
            growth = backend.resize(name, wanted, attachment)
            self._volumes.inventory.add(known.profile, backend.get(name))
        return {"name": name, "size": str(wanted), "takes_effect": growth.value}

    def rewrap(self, name: str, key: str) -> dict[str, str]:
        """Let another key open a volume. NotFound, NotSupported, Invalid (not encrypted, no such
        key, another key than the one it was encrypted with)."""
        known = self._volumes.inventory.resolve(volume_name(name))
        backend = self._volumes.backends[known.profile]
        if not isinstance(backend, Rewrappable):
            raise NotSupported(f"volumes of {known.profile} are not encrypted by kedge")
        with self._volumes.locks.hold(name, "rewrapping", self._volumes.settings.call_seconds):
            backend.rewrap(self._volumes.inventory.fresh(known), key)
            self._volumes.inventory.add(known.profile, backend.get(name))
        return {"name": name, "encrypt": key}

    def snapshots(self, name: str) -> list[dict[str, Any]]:
        """The snapshots of a volume."""
        return [_snapshot(one) for one in self._volumes.snapshots.list(name)]

    def snapshot(self, name: str) -> Response:
        """Take one."""
        wanted = _optional("name")
        taking = self._volumes.snapshots
        return copied(lambda: _snapshot(taking.create(name, wanted)))

    def remove_snapshot(self, name: str, which: str) -> Response:
        """Remove one."""

        def work(_: Progress) -> dict[str, str]:
            self._volumes.snapshots.remove(name, which)
            return {"volume": name, "removed": which}

        return streamed(work)

    def go_back(self, name: str, which: str) -> Response:
        """Go back to one."""

        def work() -> dict[str, str]:
            self._volumes.snapshots.restore(name, which)
            return {"volume": name, "restored": which}

        return copied(work)

    def clone(self, name: str, source: str) -> Response:
        """Make a volume from another, or from a snapshot of it."""

        def work() -> dict[str, Any]:
            self._volumes.clone(name, source)
            return _shown(self._volumes.get(name))

        return copied(work)

    def fsck(self, name: str) -> Response:
        """Look a volume over."""
        look = self._volumes.inspecting.fsck
        return streamed(lambda progress: [_finding(found) for found in look(name, progress)])

    def orphans(self, name: str) -> list[dict[str, Any]]:
        """What this node has of a volume that never reached its storage."""
        return [asdict(one) for one in self._volumes.inspecting.orphans(name)]

    def export(self, name: str) -> Response:
        """Send a volume's content."""
        wanted, orphan = _optional("snapshot"), _optional("orphan")
        damaged = _optional("damaged") == "yes"
        if orphan:
            send = self._volumes.inspecting.export_orphan
            return Stream().run(lambda to: asdict(send(name, orphan, to, to.progress)))
        export = partial(self._volumes.inspecting.export, damaged=damaged)
        return Stream().run(lambda to: asdict(export(name, wanted, to, to.progress)))

    def cut(self, name: str) -> Response:
        """Let a volume go on without a record of its log."""
        before = _field("before")
        if not before.isascii() or not before.isdigit():
            raise Invalid(f"{before[:60]!r} is not the number of a record")
        cut = self._volumes.inspecting.cut
        return copied(lambda: asdict(cut(name, int(before))))

    def trash(self) -> list[dict[str, str]]:
        """Removed volumes that can be brought back, of all profiles."""
        return [
            {
                "name": trashed.name,
                "backend": profile,
                "uuid": trashed.uuid,
                "created": trashed.created,
                "removed": trashed.removed,
            }
            for profile, backend in self._bins()
            for trashed in backend.trashed()
        ]

    def restore(self, uuid: str, name: str) -> dict[str, str]:
        """Bring a trashed volume back as `name`. NotFound, Exists."""
        volume_name(name)
        profile, backend = self._bin_of(uuid)
        with self._volumes.locks.hold(name, "restoring", self._volumes.settings.call_seconds):
            self._must_be_free(name)
            backend.restore(uuid, name)
            volume = self._volumes.backends[profile].get(name)
            known = self._volumes.inventory.add(profile, volume)
        return _shown(self._volumes.view(known))

    def purge(self, uuid: str) -> dict[str, str]:
        """Delete a trashed volume for good. NotFound."""
        _, backend = self._bin_of(uuid)
        backend.purge(uuid)
        return {"purged": uuid}

    def _must_be_free(self, name: str) -> None:
        try:
            known: Known = self._volumes.inventory.resolve(name)
        except NotFound:
            return
        raise Invalid(f"volume {name} exists in {known.profile}; restore under another name")

    def _bins(self) -> list[tuple[str, Trash]]:
        return [(p, b) for p, b in self._volumes.backends.items() if isinstance(b, Trash)]

    def _bin_of(self, uuid: str) -> tuple[str, Trash]:
        for profile, backend in self._bins():
            if any(trashed.uuid == uuid for trashed in backend.trashed()):
                return profile, backend
        raise NotFound(f"nothing with uuid {uuid[:60]!r} is in the trash; see `kedge trash ls`")


def _shown(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "created": view.created,
        "mountpoint": view.mountpoint,
        "status": dict(view.status),
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    every = snapshot.every
    return {**asdict(snapshot), "by": every.value if every else "hand"}


def _finding(found: Any) -> dict[str, str]:
    return {
        "level": found.level.value,
        "subject": found.subject,
        "detail": found.detail,
        "advice": found.advice,
    }


def _field(key: str) -> str:
    if not (value := _optional(key)):
        raise Invalid(f"the request has no {key}")
    return value


def _optional(key: str) -> str:
    document = request.get_json(force=True, silent=True)
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""


def _refused(error: KedgeError) -> tuple[dict[str, str], int]:
    return {"error": str(error), "code": error.code}, 409


def _unknown(_: Exception) -> tuple[dict[str, str], int]:
    return {"error": f"there is no {request.method} {request.path}", "code": "invalid"}, 404


def _fault(error: Exception) -> tuple[dict[str, str], int]:
    log.error("fault in %s: %r", request.path, error)
    return {"error": "a fault in kedge; its log has the details", "code": "fault"}, 500
