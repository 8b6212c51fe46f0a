"""Checking and exporting volumes for the operator, under their lock and claim."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from backends.base import Finding, Volume
from backends.errors import Claimed, InUse, NotSupported
from backends.inspection import (
    Checkable,
    Cut,
    Exportable,
    Exported,
    Orphan,
    Orphans,
    Progress,
    Salvageable,
    Sink,
)
from backends.names import volume_name
from backends.snapshots import snapshot_name
from driver.parts import Parts


@dataclass(frozen=True)
class Inspecting:
    """Each verb takes as long as it takes."""

    parts: Parts

    def fsck(self, name: str, progress: Progress) -> Sequence[Finding]:
        """Look the volume over; changes nothing. NotFound, NotSupported; InUse where this cannot
        be done while the volume is attached."""
        known = self.parts.inventory.resolve(volume_name(name))
        backend = self.parts.backends[known.profile]
        if not isinstance(backend, Checkable):
            raise NotSupported(f"volumes of {known.profile} cannot be checked by kedge")
        with suppress(Claimed), self._locked(name, "checking") as (profile, volume):
            if self.parts.ledger.get(name) is None:
                with self._borrowed(profile, volume):
                    return backend.fsck(volume, progress, attached=False)
        return backend.fsck(self.parts.inventory.fresh(known), progress, attached=True)

    def export(
        self, name: str, snapshot: str, to: Sink, progress: Progress, *, damaged: bool = False
    ) -> Exported:
        """Write the content of a snapshot, or of the volume itself when `snapshot` is empty, which
        then nobody may have mounted: InUse, Claimed. NotFound, NotSupported. `damaged`: what is
        left of it."""
        wanted = snapshot_name(snapshot) if snapshot else None
        with self._locked(name, "exporting") as (profile, volume):
            send = self._sender(profile, damaged)
            if wanted is None:
                if self.parts.ledger.get(name) is not None:
                    raise InUse(
                        f"volume {name} is attached on this node; export a snapshot of it instead"
                    )
                with self._borrowed(profile, volume):
                    return send(volume, None, to, progress)
        return send(volume, wanted, to, progress)

    def cut(self, name: str, before: int) -> Cut:
        """Let a damaged volume, which nobody may have mounted, go on from before that record of its
        log. InUse, Claimed, Invalid, NotFound, NotSupported."""
        created = self.parts.moment().strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._locked(name, "cutting the log") as (profile, volume):
            backend = self.parts.backends[profile]
            if not isinstance(backend, Salvageable):
                raise NotSupported(f"volumes of {profile} have no log")
            if self.parts.ledger.get(name) is not None:
                raise InUse(f"volume {name} is attached on this node; unmount it first")
            with self.parts.owners[profile].borrowed(volume, 0.0) as claim:
                return backend.cut(volume, before, created=created, claim=claim)

    def _sender(self, profile: str, damaged: bool) -> Callable[..., Exported]:
        backend = self.parts.backends[profile]
        if damaged:
            if not isinstance(backend, Salvageable):
                raise NotSupported(
                    f"volumes of {profile} cannot be exported like that; leave --damaged out"
                )
            return backend.export_damaged
        if not isinstance(backend, Exportable):
            raise NotSupported(f"volumes of {profile} cannot be exported by kedge")
        return backend.export

    def orphans(self, name: str) -> Sequence[Orphan]:
        """What this node has of a volume that never reached its storage. NotFound, NotSupported."""
        known = self.parts.inventory.resolve(volume_name(name))
        return self._keeper(known.profile).orphans(self.parts.inventory.fresh(known))

    def export_orphan(self, name: str, orphan: str, to: Sink, progress: Progress) -> Exported:
        """Write the branch of one of them; whoever has the volume goes on."""
        known = self.parts.inventory.resolve(volume_name(name))
        volume = self.parts.inventory.fresh(known)
        return self._keeper(known.profile).export_orphan(volume, orphan, to, progress)

    def _keeper(self, profile: str) -> Orphans:
        backend = self.parts.backends[profile]
        if not isinstance(backend, Orphans):
            raise NotSupported(f"volumes of {profile} keep no orphans")
        return backend

    @contextmanager
    def _locked(self, name: str, doing: str) -> Iterator[tuple[str, Volume[Any]]]:
        parts = self.parts
        with parts.locks.hold(volume_name(name), doing, parts.settings.call_seconds):
            known = parts.inventory.resolve(name)
            yield known.profile, parts.inventory.fresh(known)

    @contextmanager
    def _borrowed(self, profile: str, volume: Volume[Any]) -> Iterator[None]:
        with self.parts.owners[profile].borrowed(volume, 0.0):
            yield
