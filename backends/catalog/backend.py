"""A backend whose volumes are in a catalog."""

from collections.abc import Callable, Sequence
from typing import Generic

from backends.ambient import utc_now
from backends.base import Backend, O, P, Removed, Spec, Trashed, Volume
from backends.catalog.removal import Data
from backends.catalog.volumes import Catalog
from backends.host.failures import explained
from backends.records import Records


class CatalogedBackend(Backend[P, O], Generic[P, O]):
    """The verbs that ask the catalog and nothing else. Also Trash. The constructor of a subclass
    calls `_keep_in`."""

    _records: Records
    _catalog: Catalog[O]

    def _keep_in(
        self,
        records: Records,
        data: Data[O],
        *,
        settle: Callable[[O], O] = lambda options: options,
    ) -> None:
        """The volumes are those in `records`; see Catalog."""
        self._records = records
        self._catalog = Catalog(records, self.Options, data, now=utc_now, settle=settle)

    @property
    def records(self) -> Records:
        return self._records

    def create(self, spec: Spec[O]) -> Volume[O]:
        with explained(f"create volume {spec.name}"):
            return self._catalog.create(spec)

    def abandon(self, name: str, uuid: str) -> None:
        """As Snapshots.abandon says."""
        with explained(f"undo the creation of volume {name}"):
            self._catalog.abandon(name, uuid)

    def remove(self, volume: Volume[O]) -> Removed:
        with explained(f"remove volume {volume.name}"):
            return self._catalog.remove(volume)

    def get(self, name: str) -> Volume[O]:
        return self._catalog.get(name)

    def volumes(self) -> Sequence[Volume[O]]:
        return self._catalog.volumes()

    def trashed(self) -> Sequence[Trashed]:
        return self._catalog.trashed()

    def restore(self, uuid: str, name: str) -> None:
        self._catalog.restore(uuid, name)

    def purge(self, uuid: str) -> None:
        with explained(f"purge {uuid}"):
            self._catalog.purge(uuid)
